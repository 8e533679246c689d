"""A cube with a shadow: a network namespace with a netdev for each port, for Linux tools."""
from __future__ import annotations

import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.engine.apply import apply
from reconciler.kernel import netns, rtnl
from reconciler.plan.steps import Disruption, Rank, Step
from tests.faults.injection import inject
from tests.lib import packets
from tests.lib.agent_process import Bench
from tests.lib.lab import Lab
from tests.lib.traffic import Census, Flood, exactly_once, numbered

pytestmark = pytest.mark.kernel

BRIDGE = """
hosts: {h1: 10.0.0.1/24, h2: 10.0.0.2/24}
cubes:
  - {name: br1, service-name: simplebridge, shadow: true, ports: [{name: p1, peer: v1}, {name: p2, peer: v2}]}
"""
TWO = """
hosts: {h1: 10.0.0.1/24, h2: 10.0.0.2/24}
cubes:
  - {name: br1, service-name: simplebridge, shadow: true, ports: [{name: p1, peer: v1}, {name: to2, peer: "br2:to1", tcubes: [th1]}]}
  - {name: br2, service-name: simplebridge, ports: [{name: to1, peer: "br1:to2"}, {name: p2, peer: v2}]}
  - {name: th1, service-name: transparenthelloworld, egress-action: PASS}
"""
ROUTER = """
hosts:
  h1: {addresses: [10.0.1.1/24], routes: [{to: default, via: 10.0.1.254}]}
  h2: {addresses: [10.0.2.1/24], routes: [{to: default, via: 10.0.2.254}]}
cubes:
  - name: r1
    service-name: router
    shadow: true
    ports: [{name: p1, ip: 10.0.1.254/24, peer: v1}, {name: p2, ip: 10.0.2.254/24, peer: v2}]
    route: [{network: 10.9.0.0/16, nexthop: 10.0.2.1}]
"""
FRAME = numbered("02:00:00:00:00:01", "ff:ff:ff:ff:ff:ff", 0, 0)


def _ospf(source: str, target: str) -> bytes:
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 64, 0, 0, 1, 89, 0, socket.inet_aton(source), socket.inet_aton(target))
    return head[:10] + struct.pack("!H", packets.checksum(head)) + head[12:] + bytes(44)


def inside(cube: str, *words: str) -> str:
    return subprocess.run(["ip", "netns", "exec", f"pcn-{cube}", *words], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def bridge() -> Iterator[Lab]:
    with Lab(BRIDGE) as lab:
        lab.apply()
        yield lab


@pytest.fixture
def router() -> Iterator[Lab]:
    with Lab(ROUTER) as lab:
        lab.apply()
        yield lab


def test_what_is_sent_inside_leaves_by_the_port_of_that_name_and_by_no_other(bridge: Lab) -> None:
    with bridge.sniff("h1") as one, bridge.sniff("h2") as two:
        packets.send_frames("pcn-br1", "p2", [FRAME])
        assert two.all(0.3, FRAME.__eq__) == [FRAME]
        assert one.all(0.1, FRAME.__eq__) == []


def test_it_leaves_through_the_transparent_cubes_of_a_port_that_leads_to_another_cube() -> None:
    with Lab(TWO) as lab:
        lab.apply()
        with lab.sniff("h2") as two:
            packets.send_frames("pcn-br1", "to2", [FRAME])
            assert two.all(0.3, FRAME.__eq__) == [FRAME]
        lab.cube("th1")["egress-action"] = "DROP"
        lab.apply()
        with lab.sniff("h2") as two:
            packets.send_frames("pcn-br1", "to2", [FRAME])
            assert two.all(0.3, FRAME.__eq__) == []


def test_span_copies_each_packet_once_where_it_comes_and_once_where_it_goes(bridge: Lab) -> None:
    bridge.cube("br1")["span"] = True
    bridge.apply()
    assert bridge.live_cube("br1")["span"] is True
    with packets.sniff("pcn-br1", "p1") as one, packets.sniff("pcn-br1", "p2") as two, bridge.sniff("h2") as there:
        bridge.send("h1", FRAME)
        assert one.all(0.3, FRAME.__eq__) == two.all(0.3, FRAME.__eq__) == there.all(0.1, FRAME.__eq__) == [FRAME]
    with packets.sniff("pcn-br1", "p2") as own, bridge.sniff("h2") as there:
        packets.send_frames("pcn-br1", "p2", [FRAME])
        assert there.all(0.3, FRAME.__eq__) == [FRAME]
        assert own.all(0.1, FRAME.__eq__) == []  # nobody hears himself


def test_a_document_that_is_shown_is_what_is_there(bridge: Lab) -> None:
    for said in ({}, {"span": True}):
        bridge.cube("br1").update(said)
        bridge.apply()
        shown = bridge.live()
        assert shown["namespaces"] == [bridge.space("h1"), bridge.space("h2")]
        assert {leaf: shown["cubes"][0].get(leaf, False) for leaf in ("shadow", "span")} == {"shadow": True, "span": "span" in said}
        assert len(shown["links"]) == 2
        assert len(shown["cubes"]) == 1
        assert not bridge.plan().plan.steps


@pytest.mark.parametrize("words", [["ip", "-n", "pcn-br1", "link", "delete", "p1"], ["ip", "netns", "delete", "pcn-br1"]])
def test_a_netdev_or_a_namespace_that_is_gone_is_drift_and_comes_back(bridge: Lab, words: list[str]) -> None:
    subprocess.run(words, check=True)
    assert bridge.drift() != []
    bridge.apply()
    assert bridge.drift() == []
    with bridge.sniff("h1") as one:
        packets.send_frames("pcn-br1", "p1", [FRAME])
        assert one.all(0.3, FRAME.__eq__) == [FRAME]


def test_a_shadow_comes_and_goes_and_no_packet_is_lost(bridge: Lab) -> None:
    assert bridge.ok("h1", "10.0.0.2")
    with Census(bridge, ["h2"]) as census, Flood(bridge, "h1", bridge.mac("h2")) as flood:
        for said in ({"span": True}, {"shadow": False, "span": False}, {"shadow": True}, {"shadow": True, "span": True}):
            bridge.cube("br1").update(said)
            assert bridge.apply().plan.disruption == Disruption.NONE
            assert netns.exists("pcn-br1") == bridge.cube("br1")["shadow"]
    assert exactly_once(census, "h2", flood) == ""


def test_addresses_of_the_document_are_told_and_told_again_when_they_are_others(router: Lab) -> None:
    assert {"10.0.1.254/24"} <= {each.address for each in rtnl.ends("pcn-r1")["p1"].addresses}
    assert "10.9.0.0/16 via 10.0.2.1" in inside("r1", "ip", "route")
    assert router.ok("h1", "10.0.1.254")
    inside("r1", "ip", "address", "add", "10.0.1.253/24", "dev", "p1")
    router.port("r1", "p1")["ip"] = "10.0.1.252/24"
    router.apply()
    assert {each.address for each in rtnl.ends("pcn-r1")["p1"].addresses if "." in each.address} == {"10.0.1.252/24", "10.0.1.253/24"}
    assert router.live_cube("r1")["ports"][0] == {
        "name": "p1", "ip": "10.0.1.252/24", "secondaryip": [{"ip": "10.0.1.253/24"}], "peer": "v1",
    }  # fmt: skip
    assert router.drift() == []
    assert router.ok("h1", "10.0.1.252")
    assert router.fails("h1", "10.0.1.254")


def test_a_mac_that_linux_sets_is_the_ports(router: Lab) -> None:
    inside("r1", "ip", "link", "set", "p1", "address", "02:00:00:00:07:07")
    assert router.drift() == []
    assert router.plan().session.pending != []
    router.apply()
    assert router.live_cube("r1")["ports"][0]["mac"] == "02:00:00:00:07:07"
    assert router.ok("h1", "10.0.1.254")
    assert router.ok("h2", "10.0.1.1")


def test_linux_inside_answers_for_the_router(router: Lab) -> None:
    assert router.ok("h1", "10.0.1.254")
    assert router.ok("h1", "10.0.2.254")  # of another port
    assert packets.ping("pcn-r1", "10.0.1.1") == 2
    with packets.sniff("pcn-r1", "p1") as seen:
        hello = _ospf("10.0.1.1", "224.0.0.5")  # OSPF's, to a routing daemon
        frame = bytes.fromhex("01005e000005" + router.mac("h1").replace(":", "") + "0800") + hello
        router.send("h1", frame)
        assert seen.all(0.3, frame.__eq__) == [frame]


def test_routes_that_linux_has_are_used_beside_those_of_the_document_and_go_with_it(router: Lab) -> None:
    for words in (["10.8.0.0/16", "via", "10.0.2.1"], ["10.7.0.0/16", "dev", "p2"]):
        inside("r1", "ip", "route", "add", *words)
    assert router.drift() == []
    router.apply()
    document = {"network": "10.9.0.0/16", "nexthop": "10.0.2.1"}
    ours = [{"network": "10.7.0.0/16", "nexthop": "0.0.0.0", "interface": "p2"}, {"network": "10.8.0.0/16", "nexthop": "10.0.2.1", "interface": "p2"}]
    assert router.live_cube("r1")["route"] == [*ours, document]
    assert router.drift() == []
    router.cube("r1")["route"] = []
    router.apply()
    assert "10.9.0.0/16" not in inside("r1", "ip", "route")
    assert router.live_cube("r1")["route"] == ours


def test_rows_that_somebody_changed_are_drift_as_ever(router: Lab) -> None:
    router.flush("r1", "martians4")
    assert [change.address for change in router.drift()] == ["cube/r1/table/martians4"]


def test_an_agent_imports_what_linux_sets_and_heals_a_netdev_that_is_gone(router: Lab, tmp_path: Path) -> None:
    bench = Bench(router, tmp_path)
    bench.save()
    with bench.agent() as agent:
        agent.until(lambda status: not status["drift"]["now"] and not status["pending"])
        inside("r1", "ip", "address", "add", "10.0.1.99/24", "dev", "p1")
        began = time.monotonic()
        assert packets.ping(router.space("h1"), "10.0.1.99", 40, interval=0.1) > 0
        assert time.monotonic() - began < 5
        agent.until(lambda status: not status["drift"]["now"] and not status["pending"])
        assert agent.status()["drift"]["healed"] == 0
        assert subprocess.run(["ip", "-n", "pcn-r1", "link", "delete", "p1"], check=True).returncode == 0
        agent.until(lambda status: not status["drift"]["now"] and "p1" in rtnl.links("pcn-r1"))
        assert packets.ping(router.space("h1"), "10.0.1.254", 20, interval=0.1) > 0


@pytest.mark.timeout(300)
@pytest.mark.parametrize("before", [{"shadow": False}, {"shadow": True, "span": True}])
def test_a_change_of_it_that_fails_at_a_step_is_undone(bridge: Lab, before: dict[str, bool]) -> None:
    """To a shadow, and from one: every second step, before and after it was done."""
    bridge.cube("br1").update(before)
    bridge.apply()
    bridge.cube("br1").update({"shadow": not before["shadow"], "span": not before["shadow"]})
    document = bridge.document()
    for number in range(0, 200, 2):

        def run(before: Callable[[int, Step], None]) -> None:
            apply([document], replace(bridge.options, before=before))

        met = inject(run, number, half_done=bool(number % 4))
        if met.step is None or met.step.rank >= Rank.GRACE:
            break
        assert met.error is not None
        assert bridge.drift() == []
        assert netns.exists("pcn-br1") == before["shadow"]
        assert {leaf for leaf in ("shadow", "span") if bridge.live_cube("br1").get(leaf)} == {leaf for leaf in before if before[leaf]}
    assert number >= 6
