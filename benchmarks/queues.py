"""As many queues of a netdev as there are CPUs, so that each carries its own packets (ETHTOOL_SCHANNELS of ethtool(7))."""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct

from reconciler.kernel import netns

_SIOCETHTOOL, _SET = 0x8946, 0x3D


def set_queues(name: str, space: str, receive: int, send: int) -> None:
    """Raises OSError if the netdev cannot have so many, or a veth's other end has fewer to receive with than this one to send."""
    asked = ctypes.create_string_buffer(struct.pack("9I", _SET, 0, 0, 0, 0, receive, send, 0, 0), 36)
    with netns.inside(space), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, _SIOCETHTOOL, struct.pack("16sP", name.encode(), ctypes.addressof(asked)))
