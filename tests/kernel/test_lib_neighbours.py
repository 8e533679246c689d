"""bpf/lib/arp.h and bpf/lib/nd.h against scapy's idea of the same frames."""
from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator

import pytest

from tests.lib.bare_program import DROPPED, FLAVOURS, Run, running
from tests.lib.scapy_packets import (
    ARP,
    IP,
    UDP,
    Ether,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    Packet,
    Raw,
    built,
)

MINE, OTHER = "02:00:00:00:00:aa", "02:00:00:00:00:01"
ASKS = Ether(src=OTHER, dst="ff:ff:ff:ff:ff:ff") / ARP(op=1, hwsrc=OTHER, psrc="10.0.0.1", hwdst="00:00:00:00:00:00", pdst="10.0.0.2")
MAC = "u8 mac[6] = {2, 0, 0, 0, 0, 0xaa};"


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_request_becomes_the_reply_that_scapy_makes_of_it(flavour: str) -> None:
    body = MAC + """
      void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
      struct arp_frame *frame = data;
      if ((void *)(frame + 1) > data_end || !is_arp(&frame->arp))
        return RX_OK;
      arp_reply(&frame->eth, &frame->arp, mac);
      return RX_DROP;"""
    reply = Ether(src=MINE, dst=OTHER) / ARP(op=2, hwsrc=MINE, psrc="10.0.0.2", hwdst=OTHER, pdst="10.0.0.1")
    with running('#include "lib/arp.h"', body, flavour) as run:
        assert run(built(ASKS, 60)) == (DROPPED[flavour], built(reply, 60))
        for wrong in ({"hwtype": 6}, {"ptype": 0x86DD}, {"hwlen": 8}, {"plen": 16}, {"op": 3}, {"op": 0}, {"hwsrc": "01:00:00:00:00:01"}, {"hwsrc": "00:00:00:00:00:00"}):
            asks = ASKS.copy()
            for name, value in wrong.items():
                setattr(asks[ARP], name, value)
            raw = bytearray(built(ASKS, 60))
            raw[14:42] = _arp_bytes(asks[ARP])
            assert run(bytes(raw))[0] != DROPPED[flavour], wrong


def _arp_bytes(arp: Packet) -> bytes:
    """Of fixed sizes, whatever the fields that tell sizes say."""
    mac = bytes.fromhex(arp.hwsrc.replace(":", ""))
    head = struct.pack("!HHBBH", arp.hwtype, arp.ptype, arp.hwlen or 6, arp.plen or 4, arp.op)
    return head + mac + ipaddress.ip_address("10.0.0.1").packed + bytes(6) + ipaddress.ip_address("10.0.0.2").packed


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_request_is_scapys(flavour: str) -> None:
    body = MAC + """
      struct arp_frame frame;
      u32 own = htonl(0x0a000001), asked = htonl(0x0a000002);
      arp_request(&frame, mac, &own, &asked);
      return pcn_store_bytes(ctx, 0, &frame, sizeof(frame)) < 0 ? RX_OK : RX_DROP;"""
    wanted = Ether(src=MINE, dst="ff:ff:ff:ff:ff:ff") / ARP(op=1, hwsrc=MINE, psrc="10.0.0.1", hwdst="00:00:00:00:00:00", pdst="10.0.0.2")
    with running('#include "lib/arp.h"', body, flavour) as run:
        assert run(bytes(60)) == (DROPPED[flavour], built(wanted, 60))


READ = """
  struct nd_message said = {};
  void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
  struct ipv6hdr *ip = data + sizeof(struct ethhdr);
  if ((void *)(ip + 1) > data_end || !is_nd(ip, data_end) || !nd_read(ctx, md, &said))
    return RX_OK;
"""


@pytest.fixture(params=FLAVOURS, scope="module")
def read(request: pytest.FixtureRequest) -> Iterator[tuple[str, Run]]:
    body = READ + "return pcn_store_bytes(ctx, 0, &said, sizeof(said)) < 0 ? RX_OK : RX_DROP;"
    with running('#include "lib/nd.h"', body, request.param) as run:
        yield request.param, run


def solicits(source: str = "fd00::1", target: str = "fd00::2", *, ip: dict[str, object] | None = None, nd: dict[str, object] | None = None, option: bool = True, mac: str = OTHER) -> Packet:  # fmt: skip
    group = "ff02::1:ff" + ipaddress.ip_address("fd00::2").exploded[-7:]
    frame = Ether(src=OTHER, dst="33:33:ff:00:00:02") / IPv6(**{"src": source, "dst": group, "hlim": 255, **(ip or {})})
    frame = frame / ICMPv6ND_NS(**{"tgt": target, **(nd or {})})
    return frame / ICMPv6NDOptSrcLLAddr(lladdr=mac) if option else frame


def advertises(*, ip: dict[str, object] | None = None, nd: dict[str, object] | None = None) -> Packet:
    frame = Ether(src=OTHER, dst=MINE) / IPv6(**{"src": "fd00::1", "dst": "fd00::2", "hlim": 255, **(ip or {})})
    return frame / ICMPv6ND_NA(**{"tgt": "fd00::1", "R": 0, "S": 1, "O": 1, **(nd or {})}) / ICMPv6NDOptDstLLAddr(lladdr=OTHER)


def test_what_a_solicitation_and_an_advertisement_say(read: tuple[str, Run]) -> None:
    flavour, run = read
    mac = bytes.fromhex(OTHER.replace(":", ""))
    for packet, solicit, flags in ((solicits(), 1, 0), (advertises(), 0, 0x60)):
        verdict, frame = run(built(packet))
        assert verdict == DROPPED[flavour]
        nd = packet[ICMPv6ND_NS] if solicit else packet[ICMPv6ND_NA]
        addresses = b"".join(ipaddress.ip_address(text).packed for text in (packet[IPv6].src, packet[IPv6].dst, nd.tgt))
        assert frame[:63] == addresses + bytes([flags, solicit, 1]) + mac + mac


@pytest.mark.parametrize(
    ("packet", "heard"),
    [  # RFC 4861 7.1.1 and 7.1.2, by their sentences
        (solicits(ip={"hlim": 254}), False),
        (solicits(nd={"cksum": 0x1234}), False),
        (solicits(nd={"code": 1}), False),
        (solicits(ip={"plen": 20}), False),
        (solicits(target="ff02::1"), False),
        (solicits() / Raw(b"\1\0" + bytes(6)), False),  # an option of length 0
        (solicits() / Raw(b"\1\2" + bytes(6)), False),  # one longer than the packet
        (solicits() / Raw(b"\xfd\1" + bytes(6)), True),  # one that nobody knows
        (solicits("::", option=False), True),
        (solicits("::"), False),  # who has no address says no link-layer address
        (solicits("::", option=False, ip={"dst": "fd00::2"}), False),  # and asks through a solicited-node group
        (solicits("ff02::1"), False),
        (solicits(mac="01:00:00:00:00:01"), False),
        (solicits(option=False), True),
        (advertises(), True),
        (advertises(ip={"hlim": 64}), False),
        (advertises(nd={"code": 7}), False),
        (advertises(nd={"cksum": 1}), False),
        (advertises(nd={"tgt": "ff02::1"}), False),
        (advertises(ip={"dst": "ff02::1"}), False),  # solicited, and to all
        (advertises(ip={"dst": "ff02::1"}, nd={"S": 0}), True),
        (advertises(ip={"src": "::"}), False),
    ],
)
def test_what_of_discovery_is_heard(read: tuple[str, Run], packet: Packet, heard: bool) -> None:
    flavour, run = read
    assert (run(built(packet))[0] == DROPPED[flavour]) == heard


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("source", ["fd00::1", "::"])
def test_the_answer_to_a_solicitation_is_scapys(flavour: str, source: str) -> None:
    """With padding behind it under XDP, see lib/craft.h."""
    body = READ + MAC + "return nd_advertise(ctx, md, mac, &said, ND_ROUTER | ND_SOLICITED | ND_OVERRIDE) ? RX_DROP : RX_OK;"
    known = source != "::"
    wanted = Ether(src=MINE, dst=OTHER if known else "33:33:00:00:00:01") / IPv6(src="fd00::2", dst=source if known else "ff02::1", hlim=255)
    wanted = wanted / ICMPv6ND_NA(tgt="fd00::2", R=1, S=known, O=1) / ICMPv6NDOptDstLLAddr(lladdr=MINE)
    with running('#include "lib/nd.h"', body, flavour) as run:
        verdict, frame = run(built(solicits(source, option=known)))
    assert (verdict, frame[:86]) == (DROPPED[flavour], built(wanted))
    assert frame[86:] in (b"", b"\0\0")


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_any_packet_becomes_a_solicitation_that_scapy_takes_for_one(flavour: str) -> None:
    """Whatever is kept of the packet lies in an option of an unknown type; lengths and the checksum are as scapy builds them anew."""
    body = MAC + """
      u8 own[16] __attribute__((aligned(4))) = {0xfe, 0x80, [15] = 0xaa}, asked[16] = {0xfd, [13] = 0x12, 0x34, 0x56};
      return nd_solicit(ctx, md, mac, own, asked) ? RX_DROP : RX_OK;"""
    with running('#include "lib/nd.h"', body, flavour) as run:
        for size in (0, 30, 900):
            verdict, frame = run(built(Ether(src=OTHER, dst=MINE) / IP(src="10.0.0.1", dst="10.0.0.2") / UDP() / Raw(bytes(size)), 60))
            assert verdict == DROPPED[flavour]
            whole = Ether(frame)
            nd = whole[ICMPv6ND_NS]
            assert (whole.src, whole.dst) == (MINE, "33:33:ff:12:34:56")
            assert (whole[IPv6].src, whole[IPv6].dst, whole[IPv6].hlim) == ("fe80::aa", "ff02::1:ff12:3456", 255)
            assert (nd.tgt, whole[ICMPv6NDOptSrcLLAddr].lladdr) == ("fd00::12:3456", MINE)
            wanted = frame[: 54 + whole[IPv6].plen]
            for layer, field in ((IPv6, "plen"), (ICMPv6ND_NS, "cksum")):
                delattr(whole[layer], field)
            assert built(whole)[: len(wanted)] == wanted
