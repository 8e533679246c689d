"""What cubes do with VLAN-tagged frames, under each hook, compared with a Linux bridge and a Linux router in the same run.

A tag is in the frame, as a packet socket writes it, or beside it, as a VLAN netdev leaves it to a device that inserts tags:
then the sender's kernel has it in the packet's metadata only, and what native XDP redirects loses that.
"""
from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product

import pytest

from reconciler.kernel import bpf, netns, offload, programs, rtnl
from tests.lib.lab import HOOKS, Lab
from tests.lib.linux import Linux
from tests.services.router.frames import GATEWAY, SCENARIO, is_udp, mac_of, udp, warm
from tests.services.router.lab import RouterLab

VLAN, SERVICE_VLAN = 0x8100, 0x88A8
PRIORITY = 0x6000  # priority 3 of VLAN 0
TAGS = tuple(product((VLAN, SERVICE_VLAN), (5, PRIORITY | 5, PRIORITY, 0)))
PLACES = ("in the frame", "beside it")
TWO_HOSTS = """
hosts: {h1: 10.0.0.1/24, h2: 10.0.0.2/24}
cubes:
  - {name: br, service-name: simplebridge, ports: [{name: p1, peer: v1}, {name: p2, peer: v2}]}
"""


def with_tag(frame: bytes, protocol: int, tag: int) -> bytes:
    return frame[:12] + struct.pack("!HH", protocol, tag) + frame[12:]


@contextmanager
def tagging(space: str, protocol: int, tag: int) -> Iterator[None]:
    """What leaves by a host's eth0 gets a tag beside it while the block runs, as from a VLAN netdev."""
    code = ((0xB7, 2, struct.unpack("=H", struct.pack("!H", protocol))[0]), (0xB7, 3, tag), (0x85, 0, 18),
            (0xB7, 0, -1), (0x95, 0, 0))  # fmt: skip  # bpf_skb_vlan_push(ctx, protocol, tag); return TCX_NEXT
    program = programs.load(b"".join(struct.pack("<BBhi", op, register, 0, value) for op, register, value in code), bpf.SCHED_CLS, "tag")
    with netns.inside(space):
        link = bpf.link_create(program, rtnl.links(space)["eth0"].index, bpf.ATTACH_TCX_EGRESS)
    yield
    os.close(link)
    os.close(program)


def arrived(side: Lab | Linux, frame: bytes, protocol: int, tag: int, place: str) -> list[bytes]:
    """What of a frame that h1 sends with this tag arrives at h2, whatever it has become on the way."""
    body = frame[-20:]
    with side.sniff("h2") as seen:
        if place == "beside it":
            with tagging(side.space("h1"), protocol, tag):
                side.send("h1", frame)
        else:
            side.send("h1", with_tag(frame, protocol, tag))
        return seen.all(0.15, lambda found: found[-20:] == body)


def numbered(lab: Lab, number: int) -> bytes:
    return b"".join(bytes.fromhex(lab.mac(host).replace(":", "")) for host in ("h2", "h1")) + b"\x88\xb5" + bytes([number]) * 60


@pytest.mark.parametrize("hook", HOOKS)
def test_a_bridge_passes_each_tag_on_as_linux_does_wherever_the_sender_has_it(hook):
    with Lab(TWO_HOSTS, hook=hook) as lab:
        lab.apply()
        assert lab.ok("h1", "10.0.0.2")
        with Linux(lab, "bridge") as linux:
            for number, ((protocol, tag), place) in enumerate(product(TAGS, PLACES)):
                frame = numbered(lab, number)
                ours, theirs = (arrived(side, frame, protocol, tag, place) for side in (lab, linux))
                assert theirs == [with_tag(frame, protocol, tag)], f"Linux: {protocol:x} {tag:x} {place}"
                assert ours == theirs, f"{protocol:x} {tag:x} {place}"


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("hook", HOOKS)
def test_a_router_routes_what_has_only_a_priority_and_nothing_of_a_vlan_as_linux_does(hook, family):
    with RouterLab(SCENARIO, hook=hook, family=family) as lab:
        lab.apply()
        warm(lab)
        ports = {host: [port["ip" if family == 4 else "ipv6"]] for host, port in zip(("h1", "h2"), lab.cube("r1")["ports"], strict=True)}
        with Linux(lab, "router", ports, {"h1": GATEWAY.hex(":")}) as linux:
            for number, ((protocol, tag), place) in enumerate(product(TAGS, PLACES)):
                frame = udp(lab, payload=bytes([number]) * 40)
                ours, theirs = (arrived(side, frame, protocol, tag, place) for side in (lab, linux))
                wanted = not tag & 0xFFF
                assert [is_udp(each) and each[:6] == mac_of(lab, "h2") for each in theirs] == [True] * wanted, f"Linux: {protocol:x} {tag:x} {place}"
                assert [each[12:] for each in ours] == [each[12:] for each in theirs], f"{protocol:x} {tag:x} {place}"
            frame = with_tag(udp(lab, payload=b"\xaa" * 40), VLAN, PRIORITY)  # a tag within a tag
            for tag, wanted in ((0, 1), (5, 0)):
                for side in (lab, linux):
                    assert len(arrived(side, frame, SERVICE_VLAN, tag, "in the frame")) == wanted


def test_a_topologys_own_veths_get_their_tags_in_the_frame_and_have_it_undone_when_xdp_goes():
    with Lab(TWO_HOSTS, hook="XDP_DRV") as lab:
        lab.apply()
        assert not offload.get("eth0", "tx-vlan", lab.space("h1"))
        offload.put("eth0", "tx-vlan", True, lab.space("h1"))
        assert [change.address for change in lab.drift()] == [f"offload/{lab.space('h1')}:eth0"]
        lab.apply()
        assert not offload.get("eth0", "tx-vlan", lab.space("h1"))
        lab.cube("br")["type"] = "TC"
        lab.apply()
        assert offload.get("eth0", "tx-vlan", lab.space("h1"))
