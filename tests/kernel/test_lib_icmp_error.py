"""bpf/lib/icmp_error.h against scapy's idea of an error, and of a reset."""
from __future__ import annotations

import random
from collections.abc import Iterator

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
    ICMPv6TimeExceeded,
    IPv6,
    Packet,
    Raw,
    built,
)

ETH = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
BACK = Ether(src="02:00:00:00:00:aa", dst="02:00:00:00:00:01")
FOUR, SIX = IP(src="10.0.0.1", dst="10.0.0.2"), IPv6(src="fd00::1", dst="fd00::2")
MAC = "u8 mac[6] = {2, 0, 0, 0, 0, 0xaa};"
ERROR4 = MAC + """
  void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
  struct iphdr *ip = data + sizeof(struct ethhdr);
  struct icmp_error say = {.type = 3, .code = 4, .mtu = 1280};
  if ((void *)(ip + 1) > data_end || !may_get_error4(ctx, ip))
    return RX_OK;
  return icmp_error4(ctx, md, &say, htonl(0x0a000063), ip->saddr, mac) ? RX_DROP : RX_OK;"""
ERROR6 = """
  void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
  struct ipv6hdr *ip = data + sizeof(struct ethhdr);
  struct icmp_error say = {.type = 2, .mtu = 1280};
  u8 from[16] __attribute__((aligned(4))) = {0xfd, [15] = 0x63}, to[16] __attribute__((aligned(4)));
  if ((void *)(ip + 1) > data_end || !may_get_error6(ctx, ip))
    return RX_OK;
  __builtin_memcpy(to, &ip->saddr, 16);
  return icmp_error6(ctx, md, &say, from, to, NULL) ? RX_DROP : RX_OK;"""


@pytest.fixture(params=FLAVOURS, scope="module")
def error4(request: pytest.FixtureRequest) -> Iterator[tuple[str, Run]]:
    with running('#include "lib/icmp_error.h"', ERROR4, request.param) as run:
        yield request.param, run


@pytest.fixture(params=FLAVOURS, scope="module")
def error6(request: pytest.FixtureRequest) -> Iterator[tuple[str, Run]]:
    with running('#include "lib/icmp_error.h"', ERROR6, request.param) as run:
        yield request.param, run


def whole(frame: bytes, wanted: Packet, quoted: bytes, outer: type[Packet]) -> None:
    """The frame is what scapy builds of these headers, the quote, and of what lib/craft.h keeps behind it, which is zeros."""
    size = len(built(wanted)) + len(quoted)
    kept = frame[size:].rstrip(b"\0")
    assert kept == b""
    said = Ether(frame)[outer]
    end = 14 + (said.len if outer is IP else 40 + said.plen)
    assert frame[:end] == built(wanted / Raw(quoted + bytes(end - size)))


@pytest.mark.parametrize("size", [0, 1, 40, 99, 100, 101, 600, 1400])
def test_an_error_is_what_scapy_builds_and_quotes_the_packet(error4: tuple[str, Run], error6: tuple[str, Run], size: int) -> None:
    flavour, run = error4
    packet = built(ETH / FOUR / UDP(sport=1, dport=2) / Raw(random.Random(size).randbytes(size)), 60)
    verdict, frame = run(packet)
    assert verdict == DROPPED[flavour]
    whole(frame, BACK / IP(src="10.0.0.99", dst="10.0.0.1", tos=0xC0, id=0, ttl=64) / ICMP(type=3, code=4, nexthopmtu=1280), packet[14 : 14 + 128], IP)
    flavour, run = error6
    packet = built(ETH / SIX / UDP(sport=1, dport=2) / Raw(random.Random(size).randbytes(size)), 60)
    verdict, frame = run(packet)
    assert verdict == DROPPED[flavour]
    back = Ether(src=ETH.dst, dst=ETH.src) / IPv6(src="fd00::63", dst="fd00::1", hlim=64)
    whole(frame, back / ICMPv6PacketTooBig(mtu=1280), packet[14 : 14 + 128], IPv6)


@pytest.mark.parametrize(
    ("packet", "told"),
    [  # RFC 1812 4.3.2.7
        (FOUR / UDP(), True),
        (IP(src="10.0.0.1", dst="10.0.0.2", frag=8, proto=17) / Raw(bytes(20)), False),
        (IP(src="10.0.0.1", dst="10.0.0.2", flags="MF", proto=17) / Raw(bytes(20)), True),
        (FOUR / ICMP(type=8), True),
        (FOUR / ICMP(type=3), False),
        (FOUR / ICMP(type=11), False),
        (FOUR / ICMP(type=5), False),
        (FOUR / ICMP(type=200), False),  # what is not known may be an error
        (IP(src="0.0.0.0", dst="10.0.0.2") / UDP(), False),
        (IP(src="127.0.0.1", dst="10.0.0.2") / UDP(), False),
        (IP(src="224.0.0.1", dst="10.0.0.2") / UDP(), False),
        (IP(src="255.255.255.255", dst="10.0.0.2") / UDP(), False),
    ],
)
def test_who_may_be_told_of_an_error(error4: tuple[str, Run], packet: Packet, told: bool) -> None:
    flavour, run = error4
    assert (run(built(ETH / packet, 60))[0] == DROPPED[flavour]) == told


@pytest.mark.parametrize(
    ("packet", "told"),
    [  # RFC 4443 2.4 (e)
        (SIX / UDP(), True),
        (SIX / ICMPv6EchoRequest(), True),
        (SIX / ICMPv6DestUnreach(), False),
        (SIX / ICMPv6TimeExceeded(), False),
        (IPv6(src="::", dst="fd00::2") / UDP(), False),
        (IPv6(src="ff02::1", dst="fd00::2") / UDP(), False),
    ],
)
def test_who_may_be_told_of_an_error_of_ipv6(error6: tuple[str, Run], packet: Packet, told: bool) -> None:
    flavour, run = error6
    assert (run(built(ETH / packet, 60))[0] == DROPPED[flavour]) == told


RESET = """
  struct parsed is;
  if (parse_packet(ctx, &is, md->packet_len) != IS_IP || is.proto != IPPROTO_TCP)
    return RX_OK;
  return tcp_reset(ctx, &is) ? RX_DROP : RX_OK;"""


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("tagged", [False, True])
def test_a_reset_is_the_one_of_rfc_9293(flavour: str, tagged: bool) -> None:
    """3.5.2: from where the segment's acknowledgement is, or it acknowledges all that the segment takes. Its header is made afresh."""
    chosen = random.Random(4)
    with running('#include "lib/icmp_error.h"', RESET, flavour) as run:
        for ip, back in (
            (IP(src="10.0.0.1", dst="10.0.0.2", tos=0xBB, id=7, ttl=1), IP(src="10.0.0.2", dst="10.0.0.1", id=0, flags="DF", ttl=64)),
            (IPv6(src="fd00::1", dst="fd00::2", tc=0xBB, fl=7, hlim=1), IPv6(src="fd00::2", dst="fd00::1", hlim=64)),
        ):
            for flags in ("S", "A", "SA", "FA", "F", "", "PA", "SF"):
                size = chosen.randrange(40)
                seq, ack, data = chosen.getrandbits(32), chosen.getrandbits(32), chosen.randbytes(size)
                segment = TCP(sport=1000, dport=80, seq=seq, ack=ack, flags=flags, window=500, options=[("NOP", None)] * 4) / Raw(data)
                tag = Dot1Q(vlan=7) if tagged else None
                verdict, frame = run(built((ETH / tag if tag else ETH) / ip / segment, 60))
                assert verdict == DROPPED[flavour]
                answer = TCP(sport=80, dport=1000, seq=ack, ack=0, flags="R", window=500, options=[("NOP", None)] * 4)
                if "A" not in flags:
                    took = size + flags.count("S") + flags.count("F")
                    answer = TCP(sport=80, dport=1000, seq=0, ack=(seq + took) % 2**32, flags="RA", window=500, options=[("NOP", None)] * 4)
                eth = Ether(src=ETH.dst, dst=ETH.src)
                assert frame == built((eth / tag if tag else eth) / back / answer / Raw(data), 60), (ip.version, flags)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_reset_is_not_answered(flavour: str) -> None:
    with running('#include "lib/icmp_error.h"', RESET, flavour) as run:
        assert run(built(ETH / FOUR / TCP(flags="R"), 60))[0] != DROPPED[flavour]
        assert run(built(ETH / FOUR / TCP(flags="RA"), 60))[0] != DROPPED[flavour]
