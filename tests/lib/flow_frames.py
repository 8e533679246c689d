"""Frames of flows by their fields, right to the last checksum, so that what a translator should make of one is the frame of other fields.

    frame(Fields(4, 17, "10.0.0.1", "10.0.0.2", 5000, 53))
    frame(fields._replace(dst="10.0.0.9"), macs=bytes(12))
"""
from __future__ import annotations

import ipaddress
import struct
from typing import NamedTuple

from tests.lib.packets import checksum

ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
MACS = bytes.fromhex("020000000099020000000088")


class Fields(NamedTuple):
    """Of ICMP, `sport` is an echo's identifier and `dport` the type; an error's `quoted` is the packet that it is about."""

    family: int
    proto: int
    src: str
    dst: str
    sport: int = 0
    dport: int = 0
    flags: int = 0x02
    payload: bytes = b"payload!"
    quoted: Fields | None = None
    fragment: int = 0  # of a later fragment: its place in units of eight bytes
    identification: int = 7


def packed(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


def frame(said: Fields, macs: bytes = MACS) -> bytes:
    return macs + (b"\x08\x00" if said.family == 4 else b"\x86\xdd") + packet(said)


def packet(said: Fields) -> bytes:
    body = said.payload if said.fragment else _carried(said)
    ends = packed(said.src) + packed(said.dst)
    if said.family == 4:
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), said.identification, said.fragment, 64, said.proto, 0)
        return head[:10] + struct.pack("!H", checksum(head + ends)) + ends + body
    if said.fragment:
        body = struct.pack("!BBHI", said.proto, 0, said.fragment << 3, said.identification) + body
    return struct.pack("!IHBB", 6 << 28, len(body), 44 if said.fragment else said.proto, 64) + ends + body


def _carried(said: Fields) -> bytes:
    if said.proto == TCP:
        return _summed(said, struct.pack("!HHIIBBHHH", said.sport, said.dport, 1, 2, 0x50, said.flags, 1000, 0, 0) + said.payload, 16)
    if said.proto == UDP:
        return _summed(said, struct.pack("!HHHH", said.sport, said.dport, 8 + len(said.payload), 0) + said.payload, 6)
    if said.proto not in (ICMP, ICMPV6):
        return said.payload
    if said.quoted is not None:
        return _summed(said, struct.pack("!BBHI", said.dport, 3 if said.family == 4 else 4, 0, 0) + packet(said.quoted), 2)
    return _summed(said, struct.pack("!BBHHH", said.dport, 0, 0, said.sport, 1) + said.payload, 2)


def _summed(said: Fields, body: bytes, at: int) -> bytes:
    pseudo = packed(said.src) + packed(said.dst) + struct.pack("!II", len(body), said.proto)
    found = checksum((b"" if said.proto == ICMP else pseudo) + body)
    return body[:at] + struct.pack("!H", 0xFFFF if said.proto == UDP and not found else found) + body[at + 2 :]
