"""What bridges tell one another (IEEE 802.1D-2004 clause 9): BPDUs as values, as bytes, and in frames. Pure."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

CONFIG, TCN, RST = 0x00, 0x80, 0x02  # the types
DESIGNATED, ROOT, ALTERNATE = 3, 2, 1  # the sender's role, in a rapid one
TC, PROPOSAL, LEARNING, FORWARDING, AGREEMENT, TC_ACK = 0x01, 0x02, 0x10, 0x20, 0x40, 0x80  # flags
GROUP = bytes.fromhex("0180c2000000")
PVST_GROUP = bytes.fromhex("01000ccccccd")
_LLC, _SNAP = b"\x42\x42\x03", b"\xaa\xaa\x03\x00\x00\x0c\x01\x0b"
_BODY = struct.Struct("!HBBBQIQHHHHH")
_SHORTEST = 60
_PRIORITY = 0xE000  # 7, as network control has


class Vector(NamedTuple):
    """A priority vector: the lower, the better."""

    root: int
    cost: int
    bridge: int
    port: int


@dataclass(frozen=True, slots=True)
class Times:
    """In seconds; on the wire they are 256ths."""

    age: float
    max_age: float
    hello: float
    delay: float


_NO_VECTOR, _NO_TIMES = Vector(0, 0, 0, 0), Times(0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Bpdu:
    """`role` is that of the sender's port; one that is not rapid is always designated."""

    kind: int
    vector: Vector = _NO_VECTOR
    times: Times = _NO_TIMES
    role: int = DESIGNATED
    flags: int = 0


def encode(bpdu: Bpdu) -> bytes:
    if bpdu.kind == TCN:
        return struct.pack("!HBB", 0, 0, TCN)
    rapid = bpdu.kind == RST
    flags = bpdu.flags | bpdu.role << 2 if rapid else bpdu.flags & (TC | TC_ACK)
    times = (round(seconds * 256) for seconds in (bpdu.times.age, bpdu.times.max_age, bpdu.times.hello, bpdu.times.delay))
    body = _BODY.pack(0, 2 if rapid else 0, bpdu.kind, flags, *bpdu.vector, *times)
    return body + b"\0" if rapid else body


def decode(raw: bytes) -> Bpdu | None:
    """None for a frame that is no BPDU, or an invalid one (9.3.4)."""
    if len(raw) < 4 or raw[:2] != b"\0\0":
        return None
    if raw[3] == TCN:
        return Bpdu(TCN)
    if raw[3] not in (CONFIG, RST) or len(raw) < _BODY.size + (raw[3] == RST):
        return None
    _, version, kind, flags, root, cost, bridge, port, *words = _BODY.unpack_from(raw)
    times = Times(*(word / 256 for word in words))
    role = flags >> 2 & 3 if kind == RST else DESIGNATED
    if (kind == RST and version < 2) or role == 0 or (kind == CONFIG and times.age >= times.max_age):
        return None
    kept = flags & ~0x0C if kind == RST else flags & (TC | TC_ACK)
    return Bpdu(kind, Vector(root, cost, bridge, port), times, role, kept)


def frame(bpdu: Bpdu, source: bytes, vlan: int, *, tagged: bool) -> bytes:
    """The Ethernet frame as a port sends it: untagged like any bridge, or tagged like bridges with one tree per VLAN (PVST+)."""
    body = encode(bpdu)
    if not tagged:
        body = _LLC + body
        return (GROUP + source + struct.pack("!H", len(body)) + body).ljust(_SHORTEST, b"\0")
    body = _SNAP + body + struct.pack("!HHH", 0, 2, vlan)
    head = PVST_GROUP + source + struct.pack("!HH", 0x8100, _PRIORITY | vlan)
    return (head + struct.pack("!H", len(body)) + body).ljust(_SHORTEST + 4, b"\0")


def of_frame(raw: bytes) -> Bpdu | None:
    at = 16 if raw[12:14] == b"\x81\x00" else 12
    body = raw[at + 2 : at + 2 + int.from_bytes(raw[at : at + 2], "big")]
    for head in (_LLC, _SNAP):
        if body.startswith(head):
            return decode(body[len(head) :])
    return None
