"""bpf/lib/addr.h and bpf/lib/lpm.h, against Python's ipaddress."""
from __future__ import annotations

import ipaddress
import struct

import pytest

from tests.lib.bare_program import DROPPED, FLAVOURS, running

V4 = ["0.0.0.0", "0.255.255.255", "1.0.0.0", "10.0.0.1", "126.255.255.255", "127.0.0.1", "127.255.255.255", "128.0.0.0", "192.168.1.1",
      "223.255.255.255", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"]  # fmt: skip
V6 = ["::", "::1", "::2", "::1:0:0", "::ffff:0.0.0.0", "::ffff:10.0.0.1", "::fffe:10.0.0.1", "0:1::", "1::", "fe7f:ffff::1", "fe80::1",
      "febf:ffff::1", "fec0::1", "fc00::1", "ff02::1", "2001:db8::1"]  # fmt: skip
READ = """
  struct { u32 a[4], b[4]; } say;
  if (pcn_load_bytes(ctx, 14, &say, sizeof(say)) < 0)
    return RX_OK;
"""


def frame(first, second=bytes(16)):
    return bytes(14) + first.ljust(16, b"\0") + second + bytes(18)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_ipv4_is_mapped_as_python_maps_it(flavour):
    body = READ + "v4_mapped(say.b, say.a[0]); pcn_store_bytes(ctx, 30, say.b, 16); return RX_DROP;"
    with running('#include "lib/addr.h"', body, flavour) as run:
        for text in V4:
            address = ipaddress.IPv4Address(text)
            assert run(frame(address.packed, b"\xee" * 16))[1][30:46] == ipaddress.IPv6Address(f"::ffff:{text}").packed


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_what_kind_of_address_one_is(flavour):
    """Python's words for it: no host's are those that are unspecified, of its 0/8, loopback, multicast or reserved."""
    body = READ + """
      u8 found[4] = {is_unspecified(say.a), is_link_local((u8 *)say.a), is_nobody(say.a), is_host4(say.a[0])};
      pcn_store_bytes(ctx, 14, found, 4);
      return RX_DROP;"""
    with running('#include "lib/addr.h"', body, flavour) as run:
        for text in V6:
            address = ipaddress.IPv6Address(text)
            nobody = address.is_unspecified or address.is_loopback or address.ipv4_mapped is not None
            assert tuple(run(frame(address.packed))[1][14:17]) == (address.is_unspecified, address.is_link_local, nobody), text
        for text in V4:
            four = ipaddress.IPv4Address(text)
            no_host = four.packed[0] == 0 or four.is_loopback or four.is_multicast or four.is_reserved
            assert run(frame(four.packed))[1][17] != no_host, text


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_addresses_and_macs_are_the_same_only_if_every_byte_is(flavour):
    body = READ + """
      u8 found[3] = {same_address(say.a, say.b), same_mac((u8 *)say.a, (u8 *)say.b), is_station((u8 *)say.a)};
      pcn_store_bytes(ctx, 14, found, 3);
      return RX_DROP;"""
    with running('#include "lib/addr.h"', body, flavour) as run:
        same = bytes(range(2, 18))
        assert run(frame(same, same))[1][14:17] == b"\1\1\1"
        for at in range(16):
            other = bytearray(same)
            other[at] ^= 0x80
            assert run(frame(same, bytes(other)))[1][14:16] == bytes([0, at >= 6]), at
        for mac, station in (("000000000000", 0), ("000000000001", 1), ("010000000000", 0), ("ffffffffffff", 0), ("020000000000", 1)):
            assert run(frame(bytes.fromhex(mac)))[1][16] == station, mac


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_key_of_one_address_finds_the_longest_prefix_as_its_bytes_say(flavour):
    body = READ + """
      struct prefix4 four;
      struct prefix6 six;
      lpm_host4(&four, say.a);
      lpm_host6(&six, say.b);
      pcn_store_bytes(ctx, 0, &four, sizeof(four));
      pcn_store_bytes(ctx, 14, &six, sizeof(six));
      return RX_DROP;"""
    four, six = ipaddress.IPv4Address("10.1.2.3").packed, ipaddress.IPv6Address("2001:db8::7").packed
    with running('#include "lib/lpm.h"', body, flavour) as run:
        verdict, found = run(frame(four, six))
    assert verdict == DROPPED[flavour]
    assert (found[:8], found[14:34]) == (struct.pack("=I", 32) + four, struct.pack("=I", 128) + six)
