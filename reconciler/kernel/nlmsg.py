"""Netlink messages, encoded and decoded with little overhead: fast dumps, and batches of requests.

A netlink library decodes every attribute of every link into objects, 0.2-0.35 ms a link: a third of a second for a thousand
links, before any comparison. A reconcile reads through this module instead, and only the attributes in use are decoded (see
`reconciler.kernel.rtnl`).
"""
from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator

NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP_INTR, NLM_F_DUMP = 0x01, 0x04, 0x10, 0x300
NLM_F_EXCL, NLM_F_CREATE = 0x200, 0x400
NESTED = 0x8000  # NLA_F_NESTED

_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_ACK_TLVS = 0x200
_NLMSGERR_ATTR_MSG = 1
_SOL_NETLINK, _NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK = 270, 10, 11, 12
_NLA_TYPE_MASK = 0x3FFF

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence number, port id
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_RECEIVE_BYTES = 1 << 17
_DUMP_TRIES = 10
_BATCH = 64  # requests in flight: their responses, a kilobyte each, must fit in the socket's receive buffer


def open_socket() -> socket.socket:
    """A routing netlink socket of this thread's network namespace; it stays in that namespace."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK):
        try:
            sock.setsockopt(_SOL_NETLINK, option, 1)
        except OSError:  # an older kernel: errors without a message, less filtering
            continue
    sock.bind((0, 0))
    return sock


def attribute(kind: int, payload: bytes) -> bytes:
    """One encoded attribute, padded to 4 bytes. Nest by concatenating and adding NESTED to `kind`."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(payload), kind) + payload + bytes(-len(payload) % 4)


def text(kind: int, value: str) -> bytes:
    """A NUL-terminated string attribute."""
    return attribute(kind, value.encode() + b"\0")


def u32(kind: int, value: int) -> bytes:
    """A 32 bit attribute in host order."""
    return attribute(kind, struct.pack("=I", value))


def attributes(data: memoryview, offset: int = 0) -> dict[int, memoryview]:
    """The attributes that start at `offset`, by type (flags removed), undecoded. Of a repeated type the last one."""
    return dict(every_attribute(data, offset))


def every_attribute(data: memoryview, offset: int = 0) -> Iterator[tuple[int, memoryview]]:
    """As `attributes`, as pairs, with repeated types."""
    unpack, end = _ATTRIBUTE.unpack_from, len(data) - _ATTRIBUTE.size
    while offset <= end:
        length, kind = unpack(data, offset)
        if length < _ATTRIBUTE.size:
            break
        yield kind & _NLA_TYPE_MASK, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def as_text(payload: memoryview | None) -> str:
    """A string attribute; '' if it is absent."""
    return bytes(payload).split(b"\0", 1)[0].decode(errors="replace") if payload is not None else ""


def as_int(payload: memoryview | None, absent: int = 0) -> int:
    """An unsigned integer attribute of any width in host order."""
    return int.from_bytes(payload, "little" if _LITTLE else "big") if payload is not None else absent


_LITTLE = struct.pack("=H", 1) == b"\1\0"


def dump(sock: socket.socket, kind: int, body: bytes) -> list[memoryview]:
    """The bodies of all messages of a dump, from one consistent pass.

    The kernel marks a dump during which the list changed; such a dump is repeated, at most _DUMP_TRIES times. Raises OSError.
    """
    found: list[memoryview] = []
    for _ in range(_DUMP_TRIES):
        sock.send(_message(kind, NLM_F_REQUEST | NLM_F_DUMP, 1, body))
        found, consistent = _receive_dump(sock)
        if consistent:
            return found
    return found  # the list keeps changing: the last, possibly inconsistent dump


def _receive_dump(sock: socket.socket) -> tuple[list[memoryview], bool]:
    found: list[memoryview] = []
    consistent = True
    while True:
        for kind, flags, _, body in _messages(sock.recv(_RECEIVE_BYTES)):
            consistent = consistent and not flags & NLM_F_DUMP_INTR
            if kind == _NLMSG_DONE:
                return found, consistent
            if kind == _NLMSG_ERROR:
                _raise_error(body, flags)
            found.append(body)


def requests(sock: socket.socket, messages: Iterable[tuple[int, int, bytes]]) -> list[OSError | None]:
    """Send many (type, flags, body), batched; for each, None or an OSError with the kernel's message.

    The kernel handles them in order, and continues after a failure.
    """
    asked = NLM_F_REQUEST | NLM_F_ACK
    encoded = [_message(kind, flags | asked, number % _BATCH, body) for number, (kind, flags, body) in enumerate(messages)]
    outcomes: list[OSError | None] = []
    for start in range(0, len(encoded), _BATCH):
        outcomes += _exchange(sock, encoded[start : start + _BATCH])
    return outcomes


def request(sock: socket.socket, kind: int, flags: int, body: bytes) -> None:
    """Send one message and wait for its acknowledgement. Raises OSError."""
    failure = requests(sock, [(kind, flags, body)])[0]
    if failure:
        raise failure


def query(sock: socket.socket, kind: int, body: bytes) -> memoryview:
    """The body of the single response to a request that is no dump. Raises OSError."""
    sock.send(_message(kind, NLM_F_REQUEST, 1, body))
    for answer, flags, _, found in _messages(sock.recv(_RECEIVE_BYTES)):
        if answer != _NLMSG_ERROR:
            return found
        _raise_error(found, flags)
    raise OSError(errno.EBADMSG, os.strerror(errno.EBADMSG))


def _exchange(sock: socket.socket, batch: list[bytes]) -> list[OSError | None]:
    sock.send(b"".join(batch))
    outcomes: list[OSError | None] = [None] * len(batch)
    answered = 0
    while answered < len(batch):
        for kind, flags, sequence, body in _messages(sock.recv(_RECEIVE_BYTES)):
            if kind == _NLMSG_ERROR:
                outcomes[sequence] = _error(body, flags)
                answered += 1
    return outcomes


def _message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    padded = body + bytes(-len(body) % 4)
    return _HEADER.pack(_HEADER.size + len(padded), kind, flags, sequence, 0) + padded


def _messages(data: bytes) -> Iterator[tuple[int, int, int, memoryview]]:
    view, offset = memoryview(data), 0
    while offset + _HEADER.size <= len(data):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
        yield kind, flags, sequence, view[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3


def _error(body: memoryview, flags: int) -> OSError | None:
    """The error of an NLMSG_ERROR message; None for an acknowledgement. With NETLINK_CAP_ACK the request's body is omitted."""
    (code,) = struct.unpack_from("=i", body)
    if code == 0:
        return None
    words = attributes(body, 4 + _HEADER.size).get(_NLMSGERR_ATTR_MSG) if flags & _NLM_F_ACK_TLVS else None
    return OSError(-code, as_text(words) or os.strerror(-code))


def _raise_error(body: memoryview, flags: int) -> None:
    failure = _error(body, flags)
    if failure:
        raise failure
