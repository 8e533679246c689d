"""Blocks of a pcapng file (draft-ietf-opsawg-pcapng) as bytes, in native byte order, as the format permits."""

from __future__ import annotations

import struct

_SECTION, _INTERFACE, _STATISTICS, _PACKET = 0x0A0D0D0A, 1, 5, 6
_MAGIC, _UNKNOWN_LENGTH = 0x1A2B3C4D, -1
_ETHERNET = 1  # LINKTYPE_ETHERNET
_NANOSECONDS = b"\x09"  # if_tsresol: times are in units of 10^-9 s
_INBOUND, _OUTBOUND = 1, 2  # epb_flags
_COMMENT, _NAME, _DESCRIPTION, _RESOLUTION, _FILTER, _APPLICATION, _FLAGS = 1, 2, 3, 9, 11, 4, 2
_RECEIVED, _DROPPED = 4, 5


def section(application: str, comment: str) -> bytes:
    """The section header block."""
    head = struct.pack("=IHHq", _MAGIC, 1, 0, _UNKNOWN_LENGTH)
    return _block(_SECTION, head + _options((_COMMENT, comment.encode()), (_APPLICATION, application.encode())))


def interface(name: str, description: str, comment: str, snaplen: int, filter: str) -> bytes:
    """An interface description block: a place where packets were seen. The first in a file is interface 0."""
    words = ((_NAME, name), (_DESCRIPTION, description), (_COMMENT, comment))
    said = [*((number, text.encode()) for number, text in words), (_RESOLUTION, _NANOSECONDS)]
    said += [(_FILTER, b"\0" + filter.encode())] if filter else []
    return _block(_INTERFACE, struct.pack("=HHI", _ETHERNET, 0, snaplen) + _options(*said))


def packet(interface: int, time: int, frame: bytes, length: int, *, inwards: bool) -> bytes:
    """An enhanced packet block. `time` in ns since 1970; `frame` may be truncated from `length` bytes."""
    head = struct.pack("=IIIII", interface, time >> 32, time & 0xFFFFFFFF, len(frame), length)
    flags = struct.pack("=I", _INBOUND if inwards else _OUTBOUND)
    return _block(_PACKET, head + _padded(frame) + _options((_FLAGS, flags)))


def statistics(interface: int, time: int, captured: int, lost: int) -> bytes:
    """An interface statistics block: packets captured so far, and packets lost."""
    said = ((_RECEIVED, struct.pack("=Q", captured + lost)), (_DROPPED, struct.pack("=Q", lost)))
    return _block(_STATISTICS, struct.pack("=III", interface, time >> 32, time & 0xFFFFFFFF) + _options(*said))


def _options(*said: tuple[int, bytes]) -> bytes:
    found = b"".join(struct.pack("=HH", number, len(value)) + _padded(value) for number, value in said if value)
    return found + bytes(4) if found else b""


def _block(kind: int, body: bytes) -> bytes:
    length = struct.pack("=I", len(body) + 12)
    return struct.pack("=I", kind) + length + body + length


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
