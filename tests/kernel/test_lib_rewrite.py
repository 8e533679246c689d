"""bpf/lib/rewrite.h and bpf/lib/quote.h, against packets that scapy makes with the other address and port from the start."""
from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from tests.lib.bare_program import DROPPED, FLAVOURS, Run, running
from tests.lib.scapy_packets import (
    ICMP,
    IP,
    TCP,
    UDP,
    Dot1Q,
    Ether,
    ICMPv6DestUnreach,
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    IPOption_RR,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    Packet,
    Raw,
    built,
)

SEED = random.randrange(1 << 32)
ETH = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
KEEP = 0xFFFFFFFF
SOURCE, TARGET = 0, 1
ORDER = """
  struct { u32 address[4], port, end; struct rewrite_place at; } order;
  if (pcn_load_bytes(ctx, md->packet_len - sizeof(order), &order, sizeof(order)) < 0)
    return RX_OK;
"""
ONE_END = ORDER + "pcn_pull(ctx, 200); return rewrite_end(ctx, &order.at, order.end, order.address, order.port) ? RX_DROP : RX_OK;"
QUOTED_END = ORDER + """
  struct quote quote;
  if (!quote_read(ctx, &order.at, &quote))
    return RX_OK;
  return quote_rewrite_end(ctx, &order.at, &quote, order.end, order.address, order.port) ? RX_DROP : RX_OK;"""
Flow = tuple[str, int, str, int]  # source, its port, target, its port
Make = Callable[[Flow], Packet]


@pytest.fixture(scope="module", params=FLAVOURS)
def rewrite(request: pytest.FixtureRequest) -> Iterator[tuple[str, Run]]:
    with running('#include "lib/rewrite.h"', ONE_END, request.param) as run:
        yield request.param, run


@pytest.fixture(scope="module", params=FLAVOURS)
def requote(request: pytest.FixtureRequest) -> Iterator[tuple[str, Run]]:
    with running('#include "lib/quote.h"', QUOTED_END, request.param) as run:
        yield request.param, run


def ordered(frame: bytes, place: tuple[int, int, int, int, int], end: int, address: str, port: int) -> bytes:
    """The frame with what is to be done behind it. `place`: l3, l4, family, protocol, whether it is a later fragment."""
    l3, l4, family, proto, later = place
    packed = IPv6Address(address).packed if ":" in address else IPv6Address(f"::ffff:{address}").packed
    wanted = port if port == KEEP else int.from_bytes(struct.pack("!H", port), "little")
    return frame + packed + struct.pack("=IIIIIBBBB", wanted, end, l3, l4, len(frame), family, proto, later, 0)


def same(found: bytes, wanted: bytes) -> bool:
    """But for the two zeros of ones' complement, of which either is right in a checksum."""
    at = [n for n in range(min(len(found), len(wanted))) if found[n] != wanted[n]]
    return len(found) == len(wanted) and (not at or (len(at) == 2 and {found[at[0] : at[1] + 1], wanted[at[0] : at[1] + 1]} == {b"\0\0", b"\xff\xff"}))


def rewritten(run: tuple[str, Run], make: Make, flow: Flow, end: int, address: str, port: int, place: tuple[int, int, int, int, int]) -> None:
    flavour, program = run
    after = list(flow)
    after[2 * end] = address
    if port != KEEP:
        after[2 * end + 1] = port
    before, wanted = built(make(flow)), built(make((after[0], after[1], after[2], after[3])))  # type: ignore[arg-type]
    verdict, found = program(ordered(before, place, end, address, port))
    assert verdict == DROPPED[flavour]
    assert same(found[: len(before)], wanted), f"seed {SEED}: {flow} end {end} to {address}:{port}\n{found[: len(before)].hex()}\n{wanted.hex()}"


def some_address(chosen: random.Random, family: int) -> str:
    if family == 4:
        return str(IPv4Address(chosen.choice((0x0A000000, 0xC0A80000, 0xFFFF0000)) + chosen.getrandbits(16)))
    return str(IPv6Address((0xFD << 120) + chosen.choice((0, chosen.getrandbits(100))) + chosen.getrandbits(16)))


def some_flow(chosen: random.Random, family: int) -> Flow:
    return some_address(chosen, family), chosen.choice((0, 80, chosen.getrandbits(16))), some_address(chosen, family), chosen.getrandbits(16)


def with_ports(kind: Any, payload: bytes = b"payload") -> Make:
    def make(flow: Flow) -> Packet:
        network = IPv6 if ":" in flow[0] else IP
        return ETH / network(src=flow[0], dst=flow[2]) / kind(sport=flow[1], dport=flow[3]) / Raw(payload)

    return make


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("proto", [6, 17])
def test_either_end_of_tcp_and_udp_becomes_what_scapy_would_have_made(rewrite: tuple[str, Run], family: int, proto: int) -> None:
    chosen = random.Random(SEED)
    place = (14, 14 + (20 if family == 4 else 40), family, proto, 0)
    make = with_ports(TCP if proto == 6 else UDP)
    for _ in range(200):
        port = chosen.choice((KEEP, 0, 0xFFFF, chosen.getrandbits(16)))
        rewritten(rewrite, make, some_flow(chosen, family), chosen.getrandbits(1), some_address(chosen, family), port, place)


def test_an_echo_has_one_identifier_for_both_ends(rewrite: tuple[str, Run]) -> None:
    chosen = random.Random(SEED)

    def echo(number: int) -> Make:
        return lambda flow: (ETH / IPv6(src=flow[0], dst=flow[2]) / ICMPv6EchoRequest(id=flow[number], seq=7) if ":" in flow[0]
                             else ETH / IP(src=flow[0], dst=flow[2]) / ICMP(id=flow[number], seq=7))  # fmt: skip

    for _ in range(100):
        for family, place in ((4, (14, 34, 4, 1, 0)), (6, (14, 54, 6, 58, 0))):
            end = chosen.getrandbits(1)
            rewritten(rewrite, echo(1 + 2 * end), some_flow(chosen, family), end, some_address(chosen, family), chosen.getrandbits(16), place)


def test_udp_without_a_checksum_keeps_none_and_one_that_comes_out_as_zero_is_all_ones(rewrite: tuple[str, Run]) -> None:
    flavour, program = rewrite
    bare = built(ETH / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1, dport=2, chksum=0) / b"abc")
    found = program(ordered(bare, (14, 34, 4, 17, 0), SOURCE, "10.9.9.9", 4000))[1]
    assert found[34:36] == struct.pack("!H", 4000)
    assert found[40:42] == b"\0\0"
    make = with_ports(UDP, b"\0\0")
    packet = built(make(("10.0.0.1", 77, "10.0.0.2", 2)))
    zero = (77 + struct.unpack("!H", packet[40:42])[0]) % 0xFFFF  # the port with which the sum is all ones
    wanted = built(make(("10.0.0.1", zero, "10.0.0.2", 2)))
    assert wanted[40:42] == b"\xff\xff"
    verdict, found = program(ordered(packet, (14, 34, 4, 17, 0), SOURCE, "10.0.0.1", zero))
    assert (verdict, found[: len(wanted)]) == (DROPPED[flavour], wanted)


@pytest.mark.parametrize("end", [SOURCE, TARGET])
def test_options_extensions_and_tags_move_the_place_and_nothing_else(rewrite: tuple[str, Run], end: int) -> None:
    def tagged(flow: Flow) -> Packet:
        return ETH / Dot1Q(vlan=5) / IP(src=flow[0], dst=flow[2], options=[IPOption_RR(routers=["0.0.0.0"] * 3)]) / TCP(
            sport=flow[1], dport=flow[3]) / b"x"  # fmt: skip

    def extended(flow: Flow) -> Packet:
        return ETH / IPv6(src=flow[0], dst=flow[2]) / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / UDP(sport=flow[1], dport=flow[3]) / b"xyz"

    rewritten(rewrite, tagged, ("10.0.0.1", 5, "10.0.0.2", 6), end, "192.0.2.77", 999, (18, 18 + 36, 4, 6, 0))
    rewritten(rewrite, extended, ("fd00::1", 5, "fd00::2", 6), end, "2001:db8::77", 999, (14, 14 + 40 + 16, 6, 17, 0))


@pytest.mark.parametrize("end", [SOURCE, TARGET])
def test_a_later_fragment_and_a_protocol_without_ports_get_another_address_alone(rewrite: tuple[str, Run], end: int) -> None:
    def later(flow: Flow) -> Packet:
        return ETH / IP(src=flow[0], dst=flow[2], frag=9, proto=17) / Raw(bytes(range(40)))

    def later6(flow: Flow) -> Packet:
        return ETH / IPv6(src=flow[0], dst=flow[2]) / IPv6ExtHdrFragment(offset=9, nh=6) / Raw(bytes(range(40)))

    def gre(flow: Flow) -> Packet:
        return ETH / IP(src=flow[0], dst=flow[2], proto=47) / Raw(bytes(range(40)))

    four, six = ("10.0.0.1", 5, "10.0.0.2", 6), ("fd00::1", 5, "fd00::2", 6)
    rewritten(rewrite, later, four, end, "192.0.2.77", 999, (14, 34, 4, 17, 1))
    rewritten(rewrite, later6, six, end, "2001:db8::77", 999, (14, 62, 6, 6, 1))
    rewritten(rewrite, gre, four, end, "192.0.2.77", 999, (14, 34, 4, 47, 0))


def test_what_was_damaged_stays_damaged_by_as_much(rewrite: tuple[str, Run]) -> None:
    flavour, program = rewrite
    for family, size in ((4, 20), (6, 40)):
        flow = ("10.0.0.1", 5, "10.0.0.2", 6) if family == 4 else ("fd00::1", 5, "fd00::2", 6)
        address = "192.0.2.9" if family == 4 else "2001:db8::9"
        before, wanted = bytearray(built(with_ports(TCP)(flow))), bytearray(built(with_ports(TCP)((address, 7, *flow[2:]))))
        before[-3] ^= 0x40
        wanted[-3] ^= 0x40
        verdict, found = program(ordered(bytes(before), (14, 14 + size, family, 6, 0), SOURCE, address, 7))
        assert (verdict, found[: len(before)]) == (DROPPED[flavour], bytes(wanted))


def test_headers_that_are_not_there_are_not_rewritten(rewrite: tuple[str, Run]) -> None:
    flavour, program = rewrite
    frame = built(with_ports(TCP)(("10.0.0.1", 5, "10.0.0.2", 6)))
    for place in ((14, 1000, 4, 6, 0), (1000, 34, 4, 6, 0), (14, 14 + 20 + 60, 4, 17, 0)):
        assert program(ordered(frame, place, SOURCE, "10.0.0.9", 7))[0] != DROPPED[flavour], place


def quoting(inner: Callable[[Flow], Packet], cut: int) -> Make:
    """An error from a router about a packet of the flow, as much of it as `cut` bytes of what IP carries."""

    def make(flow: Flow) -> Packet:
        packet = bytes(inner(flow))
        if ":" in flow[0]:
            error = ICMPv6PacketTooBig(mtu=1280) if cut % 2 else ICMPv6DestUnreach(code=4)
            return ETH / IPv6(src="fd00::fe", dst="fd00::77") / error / Raw(packet[: 40 + cut])
        return ETH / IP(src="10.0.0.254", dst="10.0.0.77") / ICMP(type=3, code=4) / Raw(packet[: 20 + cut])

    return make


def inner_of(kind: Any) -> Callable[[Flow], Packet]:
    def make(flow: Flow) -> Packet:
        network = IPv6 if ":" in flow[0] else IP
        if kind is ICMP:
            echo = ICMPv6EchoRequest(id=flow[1], seq=9) if ":" in flow[0] else ICMP(id=flow[1], seq=9)
            return network(src=flow[0], dst=flow[2]) / echo / b"payload"
        return network(src=flow[0], dst=flow[2]) / kind(sport=flow[1], dport=flow[3]) / Raw(b"payload of some length")

    return make


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("kind", [TCP, UDP, ICMP])
def test_a_quoted_packet_and_the_errors_checksum_become_what_scapy_would_have_made(requote: tuple[str, Run], family: int, kind: Any) -> None:
    """With as much quoted as a router must at least, with the whole packet, and with what is between. (Half a checksum stays as it is.)"""
    chosen = random.Random(SEED)
    place = (14, 34, 4, 1, 0) if family == 4 else (14, 54, 6, 58, 0)
    for _ in range(150):
        end = SOURCE if kind is ICMP else chosen.getrandbits(1)
        make = quoting(inner_of(kind), chosen.choice((8, 9, 16, 18, 19, 28, 100)))
        port = chosen.choice((KEEP, chosen.getrandbits(16)))
        rewritten(requote, make, some_flow(chosen, family), end, some_address(chosen, family), port, place)


def test_a_quoted_fragment_has_no_ports_and_quoted_extensions_are_stepped_over(requote: tuple[str, Run]) -> None:
    def later(flow: Flow) -> Packet:
        return IP(src=flow[0], dst=flow[2], frag=5, proto=17) / Raw(bytes(range(64)))

    def later6(flow: Flow) -> Packet:
        return IPv6(src=flow[0], dst=flow[2]) / IPv6ExtHdrFragment(offset=5, nh=17) / Raw(bytes(range(64)))

    def first6(flow: Flow) -> Packet:
        return IPv6(src=flow[0], dst=flow[2]) / IPv6ExtHdrHopByHop() / IPv6ExtHdrFragment(m=1, nh=17) / UDP(sport=flow[1], dport=flow[3]) / b"xx"

    four, six = ("10.0.0.1", 5, "10.0.0.2", 6), ("fd00::1", 5, "fd00::2", 6)
    rewritten(requote, quoting(later, 30), four, TARGET, "192.0.2.77", 999, (14, 34, 4, 1, 0))
    rewritten(requote, quoting(later6, 30), six, TARGET, "2001:db8::77", 999, (14, 54, 6, 58, 0))
    rewritten(requote, quoting(first6, 100), six, SOURCE, "2001:db8::77", 999, (14, 54, 6, 58, 0))


def test_a_quote_that_is_cut_short_is_not_read(requote: tuple[str, Run]) -> None:
    flavour, program = requote
    for cut in (-1, 0, 7):
        frame = built(quoting(inner_of(TCP), cut)(("10.0.0.1", 5, "10.0.0.2", 6)))
        assert program(ordered(frame, (14, 34, 4, 1, 0), SOURCE, "10.0.0.9", 7))[0] != DROPPED[flavour], cut
