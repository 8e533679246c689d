"""Frames for firewalls: conversations, errors about them, and what is odd: options, extension headers, fragments, tags."""
from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from typing import Any

from tests.lib.packets import checksum
from tests.services.firewall.rulesets import Style

MACS = bytes.fromhex("020000000002020000000001")
NUMBERS = {"TCP": 6, "UDP": 17, "ICMP": 1, "ICMPV6": 58, "SCTP": 132, "GRE": 47}


def frames(rng: random.Random, style: Style, count: int) -> list[tuple[str, bytes]]:
    """(chain, frame) of a conversation: many are answers to earlier ones."""
    found: list[tuple[str, bytes]] = []
    talks: list[tuple[int, int, int, int, int, int]] = []
    for _ in range(count):
        chain = rng.choice(["INGRESS", "EGRESS"])
        if talks and rng.random() < 0.5:
            talk = rng.choice(talks)
            if rng.random() < 0.5:
                family, proto, src, dst, sport, dport = talk
                talk = family, proto, dst, src, dport, sport
        else:
            family = rng.choice(style.families)
            proto = NUMBERS.get(str(rng.choice(style.protos)), 89)
            proto = {1: 58, 58: 1}.get(proto, proto) if (proto, family) in ((1, 6), (58, 4)) else proto
            ports = [rng.choice(style.ports) + rng.choice([0, 0, 0, 1]) & 65535 for _ in range(2)]
            talk = family, proto, style.address(family), style.address(family), ports[0], ports[1]
            talks.append(talk)
        frame, sender = frame_of(rng, talk, talks), style.senders.choice(style.stations or [""])
        found.append((chain, frame[:6] + bytes.fromhex(sender.replace(":", "")) + frame[12:] if sender else frame))
    return found


def frame_of(rng: random.Random, talk: tuple[int, int, int, int, int, int], talks: Sequence[Any] = ()) -> bytes:
    family, proto, src, dst, sport, dport = talk
    body = payload(rng, family, proto, sport, dport)
    if proto in (1, 58) and talks and rng.random() < 0.3:
        body = error_about(rng, family, rng.choice(talks))
    odd = rng.random()
    if family == 4:
        packet = ipv4(proto, src, dst, body, rng if odd < 0.1 else None)
    else:
        packet = ipv6(proto, src, dst, body, rng if odd < 0.1 else None)
    kind = b"\x08\x00" if family == 4 else b"\x86\xdd"
    if rng.random() < 0.02:
        packet = damaged(rng, packet)
    if rng.random() < 0.01:
        kind = rng.choice([b"\x88\x64", b"\x88\x47", b"\x91\x00", b"\x88\xb5"])
    tags = b"".join(rng.choice([b"\x81\x00", b"\x88\xa8"]) + struct.pack("!H", rng.getrandbits(12)) for _ in range(rng.choice([0] * 20 + [1, 2, 3])))
    frame = MACS + tags + kind + packet
    if rng.random() < 0.01:
        frame = frame[: rng.randint(34 if family == 4 else 54, len(frame))]  # the kernel runs nothing on less
    return frame


def damaged(rng: random.Random, packet: bytes) -> bytes:
    """With one bit changed, anywhere: a length, a flag, a checksum, a protocol."""
    at = rng.randrange(len(packet))
    return packet[:at] + bytes([packet[at] ^ 1 << rng.randrange(8)]) + packet[at + 1 :]


def summed(family: int, proto: int, src: int, dst: int, body: bytes) -> bytes:
    """With the checksum of TCP, ICMP or ICMPv6, and of UDP where it has one already."""
    at = {6: 16, 17: 6, 1: 2, 58: 2}.get(proto)
    if at is None or len(body) < at + 2 or (proto == 17 and not any(body[6:8])):
        return body
    size = 4 if family == 4 else 16
    ends = src.to_bytes(size, "big") + dst.to_bytes(size, "big")
    pseudo = b"" if proto == 1 else ends + struct.pack("!II", len(body), proto)
    body = body[:at] + bytes(2) + body[at + 2 :]
    return body[:at] + struct.pack("!H", checksum(pseudo + body)) + body[at + 2 :]


def payload(rng: random.Random, family: int, proto: int, sport: int, dport: int) -> bytes:
    if proto == 6:
        flags = rng.choice([2, 18, 16, 16, 24, 17, 4, 20, rng.getrandbits(8)])
        return struct.pack("!HHIIBBHHH", sport, dport, 1, 1, 0x50, flags, 1024, 0, 0)
    if proto in (17, 132):
        return struct.pack("!HHHH", sport, dport, rng.choice([8, 16]), rng.choice([0, 1])) + bytes(8)
    if proto in (1, 58):
        kinds = ([8, 0, 8, 0, 13] if proto == 1 else [128, 129, 128, 129, 135]) if (proto == 1) == (family == 4) else [8]
        return struct.pack("!BBHHH", rng.choice(kinds), rng.choice([0, 0, 0, 1]), 0, sport, 1)
    return bytes(16)


def error_about(rng: random.Random, family: int, talk: tuple[int, int, int, int, int, int]) -> bytes:
    quoted_family, proto, src, dst, sport, dport = talk
    inner = payload(rng, quoted_family, proto, sport, dport)
    quoted = ipv4(proto, src, dst, inner, None) if quoted_family == 4 else ipv6(proto, src, dst, inner, None)
    quoted = quoted[: rng.choice([28, 48, 60, 60, 60, 60, 10])]
    return struct.pack("!BBHI", rng.choice([3, 11]) if family == 4 else rng.choice([1, 3]), rng.choice([0, 1, 4]), 0, 0) + quoted


def ipv4(proto: int, src: int, dst: int, body: bytes, odd: random.Random | None) -> bytes:
    options, place, number = b"", 0, 7
    if odd is not None:
        options = bytes(4 * odd.choice([0, 0, 1, 10]))
        place, number = odd.choice([0, 0x2000, 0x2000, 1, 100, 100 | 0x2000]), odd.choice([1, 2])
    head = struct.pack("!BBHHHBBHII", 0x45 + len(options) // 4, 0, 20 + len(options) + len(body), number, place, 64, proto, 0, src, dst)
    head += options
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + summed(4, proto, src, dst, body)


def ipv6(proto: int, src: int, dst: int, body: bytes, odd: random.Random | None) -> bytes:
    kinds = odd.choices([0, 43, 60, 44, 135], k=odd.choice([0, 1, 2, 3, 7, 8, 9])) if odd is not None else []
    chain = [*kinds, proto]
    extensions = b""
    for place, kind in enumerate(kinds):
        following = chain[place + 1]
        if kind == 44:
            offset = odd.choice([0, 0, 0, 1, 8, 800]) if odd is not None else 0
            extensions += struct.pack("!BBHI", following, 0, offset, 5)
        else:
            longer = odd.choice([0, 0, 1]) if odd is not None else 0
            extensions += bytes([following, longer]) + bytes(6 + 8 * longer)
    head = struct.pack("!IHBB", 6 << 28, len(extensions) + len(body), chain[0], 64) + src.to_bytes(16, "big") + dst.to_bytes(16, "big")
    return head + extensions + summed(6, proto, src, dst, body)
