"""Tables whose size is configuration: a leaf says how many rows are learned, and a list's tables grow with the list."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from reconciler.kernel import maps
from reconciler.kernel.bpffs import Bpffs
from tests.lib.lab import HOOKS, Lab
from tests.upgrade.traffic import Traffic, udp

SWITCH = """
hosts: {h1: 10.0.0.1/24, h2: 10.0.0.2/24}
cubes:
  - name: sw
    service-name: simplebridge
    fdb: {max-stations: 64}
    ports: [{name: p1, peer: v1, tcubes: [guard]}, {name: p2, peer: v2}]
  - {name: guard, service-name: ddosmitigator, blacklist-src: [{ip: 192.0.2.1}]}
"""
LIST_AT_FIRST = 65536  # rows of the C's declaration


def size_of(lab: Lab, cube: str, table: str) -> int:
    with Bpffs(lab.root).opened(f"cubes/{cube}/tables/{table}") as fd:
        return maps.info(fd).spec.max_entries


@contextmanager
def no_packet_lost(lab: Lab) -> Iterator[None]:
    spaces = lab.space("h1"), lab.space("h2")
    flows = Traffic([udp(*spaces, "10.0.0.2"), udp(*reversed(spaces), "10.0.0.1")])
    try:
        flows.start()
        yield
        flows.stop()
        assert flows.losses() == []
    finally:
        flows.close()


@pytest.mark.parametrize("hook", HOOKS)
def test_a_leaf_says_how_many_stations_are_known_and_a_change_keeps_them(hook: str) -> None:
    with Lab(SWITCH, hook=hook) as lab:
        lab.apply()
        assert size_of(lab, "sw", "fwdtable") == 64
        assert lab.ok("h1", "10.0.0.2")
        known = set(lab.table("sw", "fwdtable"))
        lab.cube("sw")["fdb"]["max-stations"] = 1 << 17
        with no_packet_lost(lab):
            result = lab.apply()
        assert str(result.plan.disruption) == "none"
        assert size_of(lab, "sw", "fwdtable") == 1 << 17
        assert known <= set(lab.table("sw", "fwdtable"))
        assert lab.live_cube("sw")["fdb"]["max-stations"] == 1 << 17
        assert lab.drift() == []
        assert lab.plan().plan.steps == ()


def test_the_table_of_a_list_grows_with_it_and_what_it_counted_stays() -> None:
    with Lab(SWITCH) as lab:
        lab.apply()
        assert size_of(lab, "guard", "srcblacklist") == LIST_AT_FIRST
        lab.send("h1", blocked_frame())
        before = lab.live_cube("guard", state=True)["blacklist-src"][0]["drop-pkts"]
        assert before == 1
        entries = lab.cube("guard")["blacklist-src"]
        entries += [{"ip": f"198.18.{number >> 8}.{number & 255}"} for number in range(LIST_AT_FIRST)]
        with no_packet_lost(lab):
            result = lab.apply()
        assert str(result.plan.disruption) == "none"
        assert size_of(lab, "guard", "srcblacklist") == 2 * LIST_AT_FIRST
        assert {entry["ip"]: entry for entry in lab.live_cube("guard", state=True)["blacklist-src"]}["192.0.2.1"]["drop-pkts"] == before
        assert lab.plan().plan.steps == ()
        del entries[1:]
        lab.apply()
        assert size_of(lab, "guard", "srcblacklist") == LIST_AT_FIRST


def blocked_frame() -> bytes:
    from scapy.all import IP, UDP, Ether, raw  # type: ignore[attr-defined, unused-ignore]

    return bytes(raw(Ether(src="02:00:00:00:00:77", dst="02:00:00:00:00:78") / IP(src="192.0.2.1", dst="10.0.0.2") / UDP() / bytes(18)))
