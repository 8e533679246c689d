"""Groups that are for one wire only (802.1Q 8.6.3): the bridge passes on what a Linux bridge without spanning tree does, in one run."""
from __future__ import annotations

import pytest

from tests.lib.lab import HOOKS, Lab
from tests.lib.linux import Linux

TWO_HOSTS = """
hosts: {h1: 10.0.0.1/24, h2: 10.0.0.2/24}
cubes:
  - {name: br, service-name: simplebridge, ports: [{name: p1, peer: v1}, {name: p2, peer: v2}]}
"""
GROUPS = {f"01:80:c2:00:00:{last:02x}": last not in range(1, 16) for last in (*range(0x12), 0x20, 0x21, 0xFF)}
GROUPS |= {"01:80:c2:00:01:02": True, "01:80:c3:00:00:02": True, "01:00:0c:cc:cc:cc": True, "33:33:00:00:00:02": True}


def passed(side: Lab | Linux, source: bytes) -> dict[str, bool]:
    frames = {group: bytes.fromhex(group.replace(":", "")) + source + b"\x88\xb5" + bytes(46) for group in GROUPS}
    with side.sniff("h2") as seen:
        side.send("h1", *frames.values())
        found = {frame[:6].hex(":") for frame in seen.all(0.3, lambda frame: frame[12:14] == b"\x88\xb5")}
    return {group: group in found for group in GROUPS}


@pytest.mark.parametrize("hook", HOOKS)
def test_a_frame_for_one_wire_goes_no_further_and_spanning_trees_do(hook):
    with Lab(TWO_HOSTS, hook=hook) as lab:
        lab.apply()
        assert lab.ok("h1", "10.0.0.2")
        with Linux(lab, "bridge") as linux:
            source = bytes.fromhex(lab.mac("h1").replace(":", ""))
            assert passed(linux, source) == GROUPS
            assert passed(lab, source) == GROUPS
            assert lab.drops("br")["POLICY"] == 15
