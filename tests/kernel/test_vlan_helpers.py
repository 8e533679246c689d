"""Helpers that mean the same under TC and XDP: VLAN tags, checksums, the time. Each test runs under all hooks."""
from __future__ import annotations

import struct
import time

import pytest

from reconciler.agent.logs import follow
from reconciler.slowpath.packet_in import with_checksum
from tests.lib.lab import HOOKS, Lab
from tests.lib.services import Tree, rx

SCENARIO = """
hosts: {h1: 10.0.0.1/24, h2: 10.0.0.2/24}
cubes:
  - {name: c1, service-name: helper, ports: [{name: p1, peer: v1}, {name: p2, peer: v2}]}
"""
ACROSS = "return pcn_pkt_redirect(ctx, md, md->in_port ^ 1);"
TAG, STAG = b"\x81\x00", b"\x88\xa8"


@pytest.fixture(params=HOOKS)
def made(request, tmp_path):
    tree, opened = Tree(tmp_path / "services"), []

    def make(body):
        tree.add("helper", [rx(body + ACROSS)])
        lab = Lab(SCENARIO, hook=request.param)
        lab.__enter__()
        opened.append(lab)
        lab.options.services = tree.load()
        lab.apply()
        return lab

    yield make
    for lab in opened:
        lab.__exit__(None, None, None)


def ends(lab):
    return b"".join(bytes.fromhex(lab.mac(host).replace(":", "")) for host in ("h2", "h1"))


def through(lab, rest):
    """What becomes of a frame with this after its addresses."""
    macs = ends(lab)
    with lab.sniff("h2") as there:
        lab.send("h1", macs + rest)
        found = there.next(0.5, lambda each: each[:12] == macs)
    return found and found[12:]


BODY = b"\x88\xb5" + bytes(range(60))


def test_tags_are_seen_pushed_and_popped(made):
    lab = made("""
  int id = pcn_get_vlan_id(ctx), protocol = pcn_get_vlan_proto(ctx);
  if (!pcn_is_vlan_present(ctx)) {
    if (id != -1 || protocol != -1 || pcn_vlan_pop_tag(ctx) || pcn_vlan_push_tag(ctx, htons(ETH_P_8021Q), 0x6009))
      return RX_DROP;
  } else if (id == 5 && protocol == htons(ETH_P_8021Q)) {
    if (pcn_vlan_pop_tag(ctx))
      return RX_DROP;
  } else if (id == 6) {
    if (pcn_vlan_pop_tag(ctx) || pcn_vlan_push_tag(ctx, htons(ETH_P_8021AD), 7))
      return RX_DROP;
  } else if (id == 8 && protocol == htons(ETH_P_8021AD)) {
    if (pcn_vlan_push_tag(ctx, htons(ETH_P_8021Q), 4095))
      return RX_DROP;
  }
""")
    assert through(lab, BODY) == TAG + b"\x60\x09" + BODY  # the priority too
    assert through(lab, TAG + b"\x00\x05" + BODY) == BODY
    assert through(lab, TAG + b"\xa0\x05" + BODY) == BODY  # whatever its priority
    assert through(lab, TAG + b"\x00\x06" + BODY) == STAG + b"\x00\x07" + BODY
    assert through(lab, TAG + b"\x00\x63" + BODY) == TAG + b"\x00\x63" + BODY
    assert through(lab, STAG + b"\x00\x08" + BODY) == TAG + b"\x0f\xff" + STAG + b"\x00\x08" + BODY
    inner = TAG + b"\x00\x05" + TAG + b"\x00\x11" + BODY  # the outermost one is meant
    assert through(lab, inner) == TAG + b"\x00\x11" + BODY


def datagram(payload, *, check=True):
    """IPv4 and UDP from 10.0.0.1:1000 to 10.0.0.2:2000."""
    length = 8 + len(payload)
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + length, 1, 0, 64, 17, 0, bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2)))
    ip = ip[:10] + total(ip).to_bytes(2, "big") + ip[12:]
    udp = struct.pack("!HHHH", 1000, 2000, length, 0) + payload
    if check:
        udp = udp[:6] + (total(pseudo(ip, length) + udp) or 0xFFFF).to_bytes(2, "big") + udp[8:]
    return b"\x08\x00" + ip + udp


def pseudo(ip, length):
    return ip[12:20] + struct.pack("!HH", 17, length)


def total(data):
    """The internet checksum (RFC 1071); 0 over data that holds its own."""
    words = struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2))
    found = sum(words)
    while found >> 16:
        found = (found & 0xFFFF) + (found >> 16)
    return ~found & 0xFFFF


def assert_whole(found):
    ip, udp = found[2:22], found[22:]
    assert total(ip) == 0
    assert total(pseudo(ip, len(udp)) + udp) == 0


REWRITE = """
  u32 old = htonl(0x0a000001), new = htonl(0xc0a80207);
  u16 old_port = htons(1000), new_port = htons(65000), life[2] = {htons(0x4011), htons(0x0511)};
  if (pcn_store_bytes(ctx, 26, &new, 4) || pcn_store_bytes(ctx, 34, &new_port, 2) || pcn_store_bytes(ctx, 22, &life[1], 2))
    return RX_DROP;
  if (pcn_l3_csum_replace(ctx, 24, life[0], life[1], 2))
    return RX_DROP;
"""
BY_SIZE = REWRITE + """
  if (pcn_l3_csum_replace(ctx, 24, old, new, 4) ||
      pcn_l4_csum_replace(ctx, 40, old, new, BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0 | 4) ||
      pcn_l4_csum_replace(ctx, 40, old_port, new_port, BPF_F_MARK_MANGLED_0 | 2))
    return RX_DROP;
"""
BY_DIFFERENCE = REWRITE + """
  s64 difference = pcn_csum_diff(&old, 4, &new, 4, 0);
  if (pcn_l3_csum_replace(ctx, 24, 0, difference, 0) ||
      pcn_l4_csum_replace(ctx, 40, 0, difference, BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0) ||
      pcn_l4_csum_replace(ctx, 40, old_port, new_port, BPF_F_MARK_MANGLED_0 | 2))
    return RX_DROP;
"""


@pytest.mark.parametrize("program", [BY_SIZE, BY_DIFFERENCE], ids=["by size", "by difference"])
def test_checksums_stay_true_when_a_packet_is_rewritten(made, program):
    lab = made(program)
    for payload in (b"", b"a", b"ab", bytes(range(200)), b"\xff" * 33):
        found = through(lab, datagram(payload))
        assert found[14:18] == bytes((192, 168, 2, 7))
        assert found[10] == 5
        assert found[22:24] == (65000).to_bytes(2, "big")
        assert_whole(found)
    bare = through(lab, datagram(b"no sum", check=False))
    assert bare[28:30] == b"\0\0"  # none before, none after
    assert total(bare[2:22]) == 0


def test_a_datagram_whose_sum_becomes_zero_says_so_with_ones(made):
    """The last two bytes are chosen so that the rewritten packet sums up to nothing, which would mean 'no checksum'."""
    lab = made(BY_SIZE)
    after = datagram(b"\0\0")
    after = after[:14] + bytes((192, 168, 2, 7)) + after[18:22] + (65000).to_bytes(2, "big") + after[24:28] + b"\0\0" + after[30:]
    rest = total(pseudo(after[2:22], 10) + after[22:])
    found = through(lab, datagram(rest.to_bytes(2, "big")))
    assert found[28:30] == b"\xff\xff"


def test_the_time_is_that_of_the_wall(made):
    lab = made('pcn_log(ctx, LOG_INFO, "%llu", pcn_get_time_epoch());\n')
    before = time.time_ns()
    through(lab, BODY)
    after = time.time_ns()
    said = [int(line["text"]) for line in follow(lab.root, lab.options.services, forever=False)]
    assert any(before - 1_000_000 <= each <= after + 1_000_000 for each in said)


@pytest.mark.parametrize("tag", [b"", TAG + b"\x00\x05"])
def test_a_half_done_checksum_is_finished_and_no_other_touched(tag):
    done = datagram(b"payload")
    half = done[:28] + (~total(pseudo(done[2:22], len(done) - 22)) & 0xFFFF).to_bytes(2, "big") + done[30:]
    wrong = done[:28] + b"\x12\x34" + done[30:]
    without = datagram(b"payload", check=False)
    for before, after in ((half, done), (done, done), (wrong, wrong), (without, without), (half[:30], half[:30])):
        assert with_checksum(bytes(12) + tag + before) == bytes(12) + tag + after
