"""Packets from the slow path: sent into a cube's hidden veth, or directly out of a netdev.

A cube's hidden pair and the program at its far end are part of the live graph (reconciler/graph/wiring.py,
bpf/framework/inject.c). Port and direction are encoded beside the packet: in its mark under TC, in four bytes after it
under XDP.
"""
from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Sequence

from reconciler.pins import AFTER_EGRESS as EGRESS_BIT  # INJECT_EGRESS of inject.c

INGRESS, EGRESS = "INGRESS", "EGRESS"
_SHORTEST = 14  # bytes: an Ethernet header
_SOL_PACKET, _PACKET_QDISC_BYPASS = 263, 20
_SEND_BUFFER = 1 << 20  # bytes in the socket's queue
_LOST = (errno.ENOBUFS, errno.EAGAIN, errno.EMSGSIZE, errno.ENETDOWN, errno.ENODEV, errno.ENXIO)


class PacketOut:
    """The near end of one hidden pair. `trailer`: XDP's encoding of the port. Raises OSError if there is no such netdev."""

    def __init__(self, netdev: str, *, trailer: bool) -> None:
        self._socket, self._trailer, self._mark = _open(netdev), trailer, 0
        self.index = socket.if_nametoindex(netdev)

    def close(self) -> None:
        self._socket.close()

    def send(self, packets: Sequence[bytes], port: int, direction: str) -> int:
        """Send packets in at a port, or out of it; returns the number sent. The others overflowed the queue, or were too long."""
        where = port | (EGRESS_BIT if direction == EGRESS else 0)
        if self._trailer:
            said = struct.pack("<I", where)
            return _send(self._socket, [packet + said for packet in packets if len(packet) >= _SHORTEST])
        if where != self._mark:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, where)
            self._mark = where
        return _send(self._socket, packets)


class Wire:
    """Transmission by a netdev, bypassing its hooks: for packets that passed all cubes attached there."""

    def __init__(self, netdev: str) -> None:
        self._socket = _open(netdev)
        self._socket.setsockopt(_SOL_PACKET, _PACKET_QDISC_BYPASS, 1)

    def close(self) -> None:
        self._socket.close()

    def send(self, packets: Sequence[bytes]) -> int:
        return _send(self._socket, packets)


def _open(netdev: str) -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        made.bind((netdev, 0))
    except OSError:
        made.close()
        raise
    return made


def _send(out: socket.socket, packets: Sequence[bytes]) -> int:
    sent = 0
    for packet in packets:
        try:
            out.send(packet)
            sent += 1
        except OSError as error:
            if error.errno not in (*_LOST, errno.EINVAL):
                raise
    return sent
