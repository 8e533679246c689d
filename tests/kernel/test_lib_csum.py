"""bpf/lib/csum.h, and pcn_csum_fold, against scapy's idea of a packet with the right checksum."""
from __future__ import annotations

import random
import struct

import pytest

from tests.lib.bare_program import DROPPED, FLAVOURS, running
from tests.lib.scapy_packets import ICMP, IP, UDP, Ether, ICMPv6EchoReply, ICMPv6EchoRequest, IPv6, built

IP_AT = """
  void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
  struct iphdr *ip = data + sizeof(struct ethhdr);
  if ((void *)(ip + 1) > data_end)
    return RX_OK;
"""
ETH = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
HOSTS = {"src": "10.0.0.1", "dst": "10.0.0.2"}
HOSTS6 = {"src": "fd00::1", "dst": "fd00::ffff:2"}


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_checksum_whose_field_was_changed_is_what_scapy_works_out_anew(flavour):
    """From identifiers near a border to those all over their range."""
    body = IP_AT + """
      ip->check = csum_update(ip->check, ip->id, htons(ip->ttl << 8 | ip->tos));
      ip->id = htons(ip->ttl << 8 | ip->tos);
      return RX_DROP;"""
    with running('#include "lib/csum.h"', body, flavour) as run:
        for number in (0, 1, 0x7FFF, 0xFFFE, 0xFFFF):
            for tos in range(0, 256, 5):
                before = ETH / IP(**HOSTS, id=number, tos=tos, ttl=tos) / UDP()
                after = ETH / IP(**HOSTS, id=tos << 8 | tos, tos=tos, ttl=tos) / UDP()
                assert run(built(before)) == (DROPPED[flavour], built(after)), (number, tos)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_checksum_whose_ttl_has_become_less_is_what_scapy_works_out_anew(flavour):
    """For identifiers, and so checksums, all over their range."""
    body = IP_AT + """
      ip->check = csum_decrease(ip->check, htons(0x0100));
      ip->ttl--;
      return RX_DROP;"""
    with running('#include "lib/csum.h"', body, flavour) as run:
        for number in range(0, 0x10000, 251):
            before, after = (built(ETH / IP(**HOSTS, id=number, ttl=ttl)) for ttl in (64, 63))
            found = run(before)[1]
            assert found == after or _is_other_zero(found, after), number


def _is_other_zero(found, wanted):
    """Both 0 and 0xffff are right where the sum is zero, as Linux's own ip_decrease_ttl has it."""
    return {found[24:26], wanted[24:26]} == {b"\0\0", b"\xff\xff"} and found[:24] + found[26:] == wanted[:24] + wanted[26:]


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_fold_over_a_header_with_its_right_checksum_is_zero_and_over_no_other(flavour):
    body = IP_AT + """
      u8 header[20];
      __builtin_memcpy(header, ip, 20);
      return pcn_csum_fold(bpf_csum_diff(0, 0, (void *)header, 20, 0)) ? RX_OK : RX_DROP;"""
    with running("", body, flavour) as run:
        right = built(ETH / IP(**HOSTS, id=7) / ICMP())
        assert run(right)[0] == DROPPED[flavour]
        for at in range(14, 34):
            wrong = bytearray(right)
            wrong[at] ^= 0x10
            assert run(bytes(wrong))[0] != DROPPED[flavour], at


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_fold_takes_any_sixty_four_bits(flavour):
    """Also those that carry three times: of a number, the remainder by 0xffff, which is what ones' complement is."""
    body = """
      u64 sum;
      u16 made;
      if (pcn_load_bytes(ctx, 14, &sum, 8) < 0)
        return RX_OK;
      made = pcn_csum_fold(sum);
      return pcn_store_bytes(ctx, 22, &made, 2) < 0 ? RX_OK : RX_DROP;"""
    chosen = random.Random(1)
    sums = [0, 1, 0xFFFF, 0x1FFFF, 0x10000FFFF, 0xFFFFFFFF, 0xFFFFFFFF0000FFFF, 2**64 - 1, *(chosen.getrandbits(64) for _ in range(500))]
    with running("", body, flavour) as run:
        for number in sums:
            found = struct.unpack_from("=H", run(bytes(14) + struct.pack("=Q", number) + bytes(42))[1], 22)[0]
            assert found ^ 0xFFFF == ((number - 1) % 0xFFFF + 1 if number else 0), hex(number)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_the_sum_of_ipv6_addresses_begins_an_icmpv6_checksum_that_scapy_takes(flavour):
    """An echo of every length is made by scapy without a checksum, and given one here."""
    body = """
      struct ipv6hdr ip;
      u8 message[64] = {};
      u64 size;
      if (pcn_load_bytes(ctx, 14, &ip, 40) < 0)
        return RX_OK;
      size = ntohs(ip.payload_len);
      if (!pcn_bound(&size, 64) || pcn_load_bytes(ctx, 54, message, size) < 0)
        return RX_OK;
      u64 sum = csum_pseudo6(&ip.saddr, ntohs(ip.payload_len), IPPROTO_ICMPV6);
      u16 check = pcn_csum_fold(bpf_csum_diff(0, 0, (void *)message, 64, sum));
      return pcn_store_bytes(ctx, 56, &check, 2) < 0 ? RX_OK : RX_DROP;"""
    with running('#include "lib/csum.h"', body, flavour) as run:
        for size in range(57):
            for kind in (ICMPv6EchoRequest, ICMPv6EchoReply):
                frame = ETH / IPv6(**HOSTS6) / kind(data=bytes(range(size)))
                blank = built(frame)[:56] + b"\0\0" + built(frame)[58:]
                assert run(blank) == (DROPPED[flavour], built(frame)), size
