"""A slow-path packet: decodes the ring's record, and completes the packet to its form on the wire.

A packet of the host's own stack, or of another namespace's over a veth, may lack its TCP or UDP checksum: the field
then holds only the sum of the pseudo header. A TC program cannot detect it, and forwarded like that the packet would be dropped
at its destination.
"""
from __future__ import annotations

import struct
from typing import NamedTuple

HEAD = struct.Struct("<Q10I")  # struct pcn_packet_in of bpf/framework/slowpath.h
_FROM_EGRESS, _FROM_XDP, _TAGGED = 1, 2, 4
_NUMBER = struct.Struct("<I")
_NUMBER_AT = 8  # offset of the cube's number
_TCP, _UDP = 6, 17
_CHECK = {_TCP: 16, _UDP: 6}  # offset of the checksum
_IPV4, _IPV6 = b"\x08\x00", b"\x86\xdd"
_TAGS = (b"\x81\x00", b"\x88\xa8")


class PacketIn(NamedTuple):
    """`port`: index of the port of arrival. `length`: of the packet, of which `packet` may hold the first part only. `time`:
    CLOCK_MONOTONIC in ns, when the program wrote the record."""

    packet: bytes
    port: int
    direction: str
    reason: int
    metadata: tuple[int, int, int]
    length: int
    time: int


def cube_of(raw: bytes) -> int:
    """The number of the cube whose program wrote this record."""
    number: int = _NUMBER.unpack_from(raw, _NUMBER_AT)[0]
    return number


def decode(raw: bytes) -> PacketIn:
    """Decode a record. Raises struct.error if it is too short."""
    when, _, port, reason, one, two, three, length, flags, vlan, captured = HEAD.unpack_from(raw)
    packet = raw[HEAD.size : HEAD.size + captured]
    if flags & _TAGGED:
        packet, length = tagged(packet, vlan), length + 4
    if not flags & _FROM_XDP:
        packet = with_checksum(packet)
    return PacketIn(packet, port, "egress" if flags & _FROM_EGRESS else "ingress", reason, (one, two, three), length, when)


def tagged(packet: bytes, vlan: int) -> bytes:
    """The packet with the VLAN tag that the kernel keeps beside it: `vlan` is protocol << 16 | TCI."""
    return packet[:12] + vlan.to_bytes(4, "big") + packet[12:]


def with_checksum(packet: bytes) -> bytes:
    """The packet with its TCP or UDP checksum computed, if the field has only the sum of the pseudo header."""
    at = 12
    while packet[at : at + 2] in _TAGS:
        at += 4
    protocol, at = packet[at : at + 2], at + 2
    if protocol == _IPV4 and len(packet) >= at + 20:
        head = (packet[at] & 15) * 4
        kind, length = packet[at + 9], int.from_bytes(packet[at + 2 : at + 4], "big") - head
        if int.from_bytes(packet[at + 6 : at + 8], "big") & 0x3FFF:  # a fragment never has a partial sum
            return packet
        ends = packet[at + 12 : at + 20]
    elif protocol == _IPV6 and len(packet) >= at + 40:
        head, kind, length = 40, packet[at + 6], int.from_bytes(packet[at + 4 : at + 6], "big")
        ends = packet[at + 8 : at + 40]
    else:
        return packet
    place, start = _CHECK.get(kind), at + head
    if place is None or length < place + 2 or len(packet) < start + length:
        return packet
    field = start + place
    pseudo = (int.from_bytes(ends, "big") + kind + length) % 0xFFFF
    found = int.from_bytes(packet[field : field + 2], "big")
    if found % 0xFFFF != pseudo or (not found and kind == _UDP):
        return packet
    segment = packet[start : start + length] + b"\0" * (length % 2)
    check = 0xFFFF - (int.from_bytes(segment, "big") - found + pseudo) % 0xFFFF
    return packet[:field] + check.to_bytes(2, "big") + packet[field + 2 :]
