"""bpf/lib/parse.h against scapy's idea of the packet: where headers are, whose addresses and ports they have, and what is refused."""
from __future__ import annotations

import ipaddress
import random
import struct
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.lib.bare_program import FLAVOURS, Run, running
from tests.lib.scapy_packets import (
    ARP,
    ICMP,
    IP,
    TCP,
    UDP,
    Dot1AD,
    Dot1Q,
    Ether,
    ICMPv6EchoRequest,
    IPOption,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    Packet,
    Raw,
    built,
)

BODY = """
  struct { u32 verdict; struct parsed is; } say = {};
  say.verdict = parse_packet(ctx, &say.is, md->packet_len);
  return pcn_store_bytes(ctx, 0, &say, sizeof(say)) < 0 ? RX_OK : RX_DROP;"""
FIELDS = struct.Struct("=I16s16sIIIIIIHBBBBBBBBH")
ETH = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
NOT_IP, IS_IP, HIDDEN_IP, MALFORMED = range(4)
ROOM = 160  # the verdict and fields are written over the frame


class Parsed(NamedTuple):
    verdict: int
    src: bytes
    dst: bytes
    ports: int
    family: int
    l3: int
    l4: int
    payload_end: int
    fragment_id: int
    icmp_id: int
    proto: int
    flags: int
    has_ports: int
    has_flags: int
    icmp_type: int
    fragment: int
    later_fragment: int
    tags: int
    ethertype: int


@pytest.fixture(params=FLAVOURS, scope="module")
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    with running('#include "lib/parse.h"', BODY, request.param) as run:
        yield run


def parsed(run: Run, frame: bytes) -> Parsed:
    return Parsed(*FIELDS.unpack_from(run(frame.ljust(ROOM, b"\0"))[1]))


def mapped(address: str) -> bytes:
    ip = ipaddress.ip_address(address)
    return ip.packed if ip.version == 6 else ipaddress.IPv6Address(f"::ffff:{address}").packed


EXTENSIONS = {"hop-by-hop": IPv6ExtHdrHopByHop, "destination": IPv6ExtHdrDestOpt, "routing": lambda: IPv6ExtHdrRouting(addresses=["fd00::9"])}


def some_packet(chosen: random.Random) -> tuple[Packet, int]:
    """A packet of any kind, and how many tags it has."""
    tags = chosen.randrange(3)
    frame = ETH
    for number in range(tags):
        frame = frame / (Dot1AD if number == 0 and tags == 2 else Dot1Q)(vlan=chosen.randrange(4096), prio=chosen.randrange(8))
    kind = chosen.choice(["TCP", "UDP", "echo", "other"])
    ports = {"sport": chosen.randrange(65536), "dport": chosen.randrange(65536)}
    if chosen.random() < 0.5:
        options = [IPOption(b"\x01" * 4 * chosen.randrange(1, 11))] if chosen.random() < 0.4 else []
        frame = frame / IP(src=str(ipaddress.IPv4Address(chosen.getrandbits(32))), dst=str(ipaddress.IPv4Address(chosen.getrandbits(32))), options=options)
    else:
        frame = frame / IPv6(src=str(ipaddress.IPv6Address(chosen.getrandbits(128))), dst=str(ipaddress.IPv6Address(chosen.getrandbits(128))))
        for name in chosen.sample(sorted(EXTENSIONS), chosen.randrange(4)):
            frame = frame / EXTENSIONS[name]()
    six = IPv6 in frame
    if kind == "TCP":
        frame = frame / TCP(**ports, flags=chosen.randrange(256), options=[("NOP", None)] * 4 * chosen.randrange(3))
    elif kind == "UDP":
        frame = frame / UDP(**ports)
    elif kind == "echo":
        frame = frame / (ICMPv6EchoRequest if six else ICMP)(id=chosen.randrange(65536))
    elif six:
        frame[IPv6].nh = frame[IPv6].nh if len(frame.layers()) > tags + 2 else 89
        frame.lastlayer().nh = 89
    else:
        frame[IP].proto = 89
    return frame / Raw(chosen.randbytes(chosen.randrange(20))), tags


def test_headers_are_found_where_scapy_put_them(run: Run) -> None:
    seed = random.randrange(10**6)
    chosen = random.Random(seed)
    for _ in range(400):
        packet, tags = some_packet(chosen)
        frame = built(packet)
        whole = Ether(frame)
        ip = whole[IPv6] if IPv6 in whole else whole[IP]
        said = parsed(run, frame)
        l3 = 14 + 4 * tags
        assert (said.verdict, said.family, said.tags, said.l3) == (IS_IP, ip.version, tags, l3), (seed, packet.summary())
        assert (said.src, said.dst, said.payload_end) == (mapped(ip.src), mapped(ip.dst), len(frame)), (seed, packet.summary())
        assert (said.fragment, said.later_fragment) == (0, 0)
        carried = next((whole[layer] for layer in (TCP, UDP, ICMPv6EchoRequest, ICMP) if layer in packet), None)
        if carried is None:
            assert (said.proto, said.ports, said.has_ports) == (89, 0, 0), (seed, packet.summary())
            continue
        assert said.l4 == len(frame) - len(bytes(carried)), (seed, packet.summary())
        assert said.has_ports
        if isinstance(carried, TCP | UDP):
            assert said.ports == carried.sport << 16 | carried.dport
            assert (said.proto, said.has_flags, said.flags) == ((6, 1, int(carried.flags) & 0xFF) if TCP in packet else (17, 0, 0))
        else:
            assert (said.icmp_type, said.ports, said.icmp_id) == (carried.type, carried.type << 16 | carried.code, carried.id)


@pytest.mark.parametrize("offset", [0, 1, 185])
def test_fragments_are_known_by_their_place_and_number(run: Run, offset: int) -> None:
    four = ETH / IP(src="10.0.0.1", dst="10.0.0.2", id=0x1234, flags="MF", frag=offset, proto=17) / Raw(built(UDP(sport=1, dport=2, len=8)))
    six = ETH / IPv6(src="fd00::1", dst="fd00::2") / IPv6ExtHdrFragment(id=0x12345678, m=1, offset=offset, nh=17) / Raw(built(UDP(sport=1, dport=2, len=8)))
    for packet, number in ((four, struct.unpack("=H", b"\x12\x34")[0]), (six, struct.unpack("=I", b"\x12\x34\x56\x78")[0])):
        said = parsed(run, built(packet))
        assert (said.verdict, said.fragment, said.later_fragment, said.fragment_id) == (IS_IP, 1, offset > 0, number)
        assert (said.has_ports, said.ports) == ((0, 0) if offset else (1, 1 << 16 | 2))


def tcp_second_fragment() -> Packet:
    return ETH / IP(src="10.0.0.1", dst="10.0.0.2", frag=1, proto=6) / Raw(bytes(20))


def wrong_sum() -> Packet:
    return ETH / IP(src="10.0.0.1", dst="10.0.0.2", chksum=0x1234) / UDP()


def nested(layers: int) -> Packet:
    packet = ETH / IPv6(src="fd00::1", dst="fd00::2")
    for _ in range(layers):
        packet = packet / IPv6ExtHdrDestOpt()
    return packet / UDP()


@pytest.mark.parametrize(
    ("packet", "verdict"),
    [
        (ETH / ARP(), NOT_IP),
        (ETH / Dot1Q(vlan=5) / ARP(), NOT_IP),
        (ETH / Dot1Q() / Dot1Q() / Dot1Q() / IP() / UDP(), MALFORMED),
        (Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02", type=0x8847) / Raw(bytes(20)), HIDDEN_IP),
        (Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02", type=0x8864) / Raw(bytes(20)), HIDDEN_IP),
        (ETH / IP(src="10.0.0.1", dst="10.0.0.2", len=400) / UDP(), MALFORMED),
        (ETH / IP(src="10.0.0.1", dst="10.0.0.2", len=24) / UDP(), MALFORMED),
        (ETH / IPv6(src="fd00::1", dst="fd00::2", plen=400) / UDP(), MALFORMED),
        (ETH / IP(src="10.0.0.1", dst="10.0.0.2", ihl=4) / UDP(), MALFORMED),
        (ETH / IP(src="10.0.0.1", dst="10.0.0.2") / TCP(dataofs=4), MALFORMED),
        (ETH / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(len=7), MALFORMED),
        (wrong_sum(), MALFORMED),
        (tcp_second_fragment(), MALFORMED),
        (nested(7), IS_IP),
        (nested(8), MALFORMED),
    ],
)
def test_what_is_no_ip_and_what_cannot_be(run: Run, packet: Packet, verdict: int) -> None:
    assert parsed(run, built(packet)).verdict == verdict
