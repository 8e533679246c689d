"""The user at the other end of a TCP connection within this host: the owner of its socket, by sock_diag(7)."""

from __future__ import annotations

import errno
import os
import socket
import struct

from reconciler.errors import kernel_error

_SOCK_DIAG, _BY_FAMILY, _REQUEST = 4, 20, 1  # linux/netlink.h, linux/sock_diag.h
_HEADER = struct.Struct("=IHHII")
_ID = struct.Struct("=HH16s16sI8s")  # inet_diag_sockid, whose ports and addresses are big-endian
_ASK = struct.Struct("=BBBBI")  # inet_diag_req_v2
_UID = _HEADER.size + 4 + _ID.size + 12  # of inet_diag_msg: family, state, timer, retrans; then expires, rqueue, wqueue
_ANY_COOKIE, _ERROR = b"\xff" * 8, 2


def owner(local: tuple[str, int], remote: tuple[str, int]) -> int | None:
    """The user id of the socket with these (address, port) ends, from its view; None if there is none. Raises KernelError."""
    family = socket.AF_INET6 if ":" in local[0] else socket.AF_INET
    ports = socket.htons(local[1]), socket.htons(remote[1])
    ends = _ID.pack(*ports, _packed(family, local), _packed(family, remote), 0, _ANY_COOKIE)
    body = _ASK.pack(family, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF) + ends
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _SOCK_DIAG) as sock:
        try:
            sock.send(_HEADER.pack(_HEADER.size + len(body), _BY_FAMILY, _REQUEST, 1, 0) + body)
            answer = sock.recv(4096)
        except OSError as error:
            raise kernel_error("ask whose a connection is", error.errno or errno.EIO) from None
    if _HEADER.unpack_from(answer)[1] == _ERROR:
        number = -struct.unpack_from("=i", answer, _HEADER.size)[0]
        if number == errno.ENOENT:
            return None
        raise kernel_error("ask whose a connection is", number, os.strerror(number))
    return int(struct.unpack_from("=I", answer, _UID)[0])


def _packed(family: int, end: tuple[str, int]) -> bytes:
    return socket.inet_pton(family, end[0]).ljust(16, b"\0")
