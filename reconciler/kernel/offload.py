"""Offloads of a netdev, by the ethtool ioctl: two of them decide whether packets arrive at all.

Both facts are about veths and were measured (tests/kernel/test_offload.py):

- A frame that XDP redirects into a veth reaches the other end only if that end polls (NAPI): if GRO is on there, or an
  XDP program is. Otherwise the kernel drops it without a word.
- TCP from a host whose packets are forwarded by XDP does not connect while that host leaves checksums to its "hardware":
  the redirect loses the note that the checksum is still to be filled in. TX checksumming has to be off at the sending end.
"""
from __future__ import annotations

import ctypes
import errno
import fcntl
import socket
import struct
from typing import Literal

from reconciler.errors import kernel_error
from reconciler.kernel import netns as namespaces

Offload = Literal["rx-checksum", "tx-checksum", "tso", "gso", "gro"]

_SIOCETHTOOL = 0x8946
# ETHTOOL_G… and ETHTOOL_S… of <linux/ethtool.h>
_COMMANDS: dict[Offload, tuple[int, int]] = {
    "rx-checksum": (0x14, 0x15),
    "tx-checksum": (0x16, 0x17),
    "tso": (0x1E, 0x1F),
    "gso": (0x23, 0x24),
    "gro": (0x2B, 0x2C),
}


def get(name: str, offload: Offload, netns: str | None = None) -> bool:
    """Whether an offload is on. Raises KernelError (ENODEV: no such netdev; EOPNOTSUPP: the netdev knows no such thing)."""
    return _ethtool(name, netns, _COMMANDS[offload][0], 0, f"read the offload {offload} of '{name}'") != 0


def put(name: str, offload: Offload, on: bool, netns: str | None = None) -> bool:
    """Switch an offload; True if it was otherwise before. Raises KernelError, also if the netdev ignores the request."""
    if get(name, offload, netns) == on:
        return False
    attempt = f"switch the offload {offload} of '{name}' {'on' if on else 'off'}"
    _ethtool(name, netns, _COMMANDS[offload][1], int(on), attempt)
    if get(name, offload, netns) != on:
        raise kernel_error(attempt, errno.EOPNOTSUPP, "the netdev has this offload fixed")
    return True


def _ethtool(name: str, netns: str | None, command: int, value: int, attempt: str) -> int:
    """One ioctl with a `struct ethtool_value`, whose second half is the question's or the answer's value."""
    argument = ctypes.create_string_buffer(struct.pack("=II", command, value), 8)
    request = struct.pack("16sP16x", name.encode(), ctypes.addressof(argument))
    with namespaces.inside(netns), socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            fcntl.ioctl(sock, _SIOCETHTOOL, request)
        except OSError as failure:
            raise kernel_error(attempt, failure.errno or 0) from failure
    return int(struct.unpack_from("=I", argument.raw, 4)[0])
