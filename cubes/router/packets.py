"""The few packets that the router's slow path parses and builds, as bytes. Pure; the kernel's counterpart is in
bpf/router*.c."""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass

from cubes.lib.checksum import checksum

ARP, IPV4, IPV6 = 0x0806, 0x0800, 0x86DD
ICMP, ICMPV6 = 1, 58
BROADCAST = b"\xff" * 6
QUOTED = {4: 548, 6: 1232}  # bytes of a packet that an error sends back: RFC 1812 4.3.2.3, RFC 4443 2.4 (c)
_SOLICIT, _ADVERTISE = 135, 136

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Station:
    """Who sends something of its own: a port, or a neighbour."""

    mac: bytes
    address: Address


def target_of(frame: bytes) -> Address | None:
    """The destination of an IP packet; None for any other."""
    (kind,) = struct.unpack_from("!H", frame, 12)
    if kind == IPV4 and len(frame) >= 34:
        return ipaddress.IPv4Address(frame[30:34])
    return ipaddress.IPv6Address(frame[38:54]) if kind == IPV6 and len(frame) >= 54 else None


def source_of(frame: bytes) -> Address | None:
    """The source address of an IP packet; None for any other."""
    (kind,) = struct.unpack_from("!H", frame, 12)
    if kind == IPV4 and len(frame) >= 34:
        return ipaddress.IPv4Address(frame[26:30])
    return ipaddress.IPv6Address(frame[22:38]) if kind == IPV6 and len(frame) >= 54 else None


def answer_of(frame: bytes) -> Address | None:
    """The address and MAC that an ARP packet, an advertisement or a solicitation announces."""
    (kind,) = struct.unpack_from("!H", frame, 12)
    if kind == ARP and len(frame) >= 42:
        return ipaddress.IPv4Address(frame[28:32])
    if kind == IPV6 and len(frame) >= 78 and frame[20] == ICMPV6 and frame[54] in (_SOLICIT, _ADVERTISE):
        return ipaddress.IPv6Address(frame[62:78] if frame[54] == _ADVERTISE else frame[22:38])
    return None


def forwarded(frame: bytes, source: bytes, target: bytes) -> bytes:
    """The frame for its next hop: new MACs, TTL decremented. The datapath has checked that the TTL suffices."""
    head = target + source + frame[12:14]
    if frame[12:14] == struct.pack("!H", IPV6):
        return head + frame[14:21] + bytes([frame[21] - 1]) + frame[22:]
    (check,) = struct.unpack_from("!H", frame, 24)
    check += 0x0100  # RFC 1624
    check = (check & 0xFFFF) + (check >> 16)
    return head + frame[14:22] + bytes([frame[22] - 1]) + frame[23:24] + struct.pack("!H", check) + frame[26:]


def question(asker: Station, target: Address, known: bytes | None = None) -> bytes:
    """An ARP request or a neighbour solicitation; with `known`, unicast to the station that should still have the address."""
    if isinstance(target, ipaddress.IPv4Address):
        head = (known or BROADCAST) + asker.mac + struct.pack("!HHHBBH", ARP, 1, IPV4, 6, 4, 1)
        return head + asker.mac + asker.address.packed + bytes(6) + target.packed
    body = struct.pack("!BBHI", _SOLICIT, 0, 0, 0) + target.packed + b"\x01\x01" + asker.mac
    group = ipaddress.IPv6Address(b"\xff\x02" + bytes(9) + b"\x01\xff" + target.packed[13:])
    there = Station(known, target) if known else Station(b"\x33\x33" + group.packed[12:], group)
    return _icmpv6(asker, there, body, 255)


def unreachable(frame: bytes, router: Station) -> bytes | None:
    """The ICMP error to a packet's sender, host unreachable; None where none may be sent."""
    return _unreachable4(frame, router) if isinstance(router.address, ipaddress.IPv4Address) else _unreachable6(frame, router)


def _unreachable4(frame: bytes, router: Station) -> bytes | None:
    size = (frame[14] & 15) * 4
    (fragment,) = struct.unpack_from("!H", frame, 20)
    source = ipaddress.IPv4Address(frame[26:30])
    kind = frame[14 + size] if frame[23] == ICMP and len(frame) > 14 + size else 8
    if fragment & 0x1FFF or kind not in (0, 8, 13, 14) or source.is_multicast or source.is_unspecified:
        return None
    body = struct.pack("!BBHI", 3, 1, 0, 0) + frame[14 : 14 + QUOTED[4]]
    body = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
    head = struct.pack("!BBHHHBBH", 0x45, 0xC0, 20 + len(body), 0, 0, 64, ICMP, 0) + router.address.packed + source.packed
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return frame[6:12] + router.mac + struct.pack("!H", IPV4) + head + body


def _unreachable6(frame: bytes, router: Station) -> bytes | None:
    source = ipaddress.IPv6Address(frame[22:38])
    if source.is_multicast or source.is_unspecified or (frame[20] == ICMPV6 and len(frame) > 54 and frame[54] < 128):
        return None
    body = struct.pack("!BBHI", 1, 3, 0, 0) + frame[14 : 14 + QUOTED[6]]
    return _icmpv6(router, Station(frame[6:12], source), body, 64)


def _icmpv6(source: Station, target: Station, body: bytes, hop_limit: int) -> bytes:
    ends = source.address.packed + target.address.packed
    check = checksum(ends + struct.pack("!II", len(body), ICMPV6) + body)
    head = struct.pack("!IHBB", 0x60000000, len(body), ICMPV6, hop_limit) + ends
    return target.mac + source.mac + struct.pack("!H", IPV6) + head + body[:2] + struct.pack("!H", check) + body[4:]
