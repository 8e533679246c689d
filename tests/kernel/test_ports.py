"""Ports of a bridge: many of them, one more and one fewer, and their indices, which are given again."""
from __future__ import annotations

import json
import socket
import time
from collections import Counter
from dataclasses import fields
from pathlib import Path

import pytest

from reconciler.errors import DocumentError
from reconciler.kernel import rtnl
from reconciler.plan.steps import PROGRAM_LOADS
from tests.lib.lab import HOOKS, Counts, Lab, counts
from tests.lib.traffic import BROADCAST, ETHERTYPE, Census, Flood, amiss, numbered, send_numbered

pytestmark = pytest.mark.kernel


def wide(ports: int, links: int) -> str:
    """A bridge with ports p1, p2, ... on netdevs v1, v2, ..., whose other ends x1, x2, ... are here too."""
    return json.dumps({
        "links": [{"name": f"v{number}", "kind": "veth", "peer": {"name": f"x{number}"}} for number in range(1, links + 1)],
        "cubes": [{"name": "br", "service-name": "simplebridge",
                   "ports": [{"name": f"p{number}", "peer": f"v{number}"} for number in range(1, ports + 1)]}],
    })  # fmt: skip


def mac(number: int) -> str:
    return f"02:00:00:00:00:{number:02x}"


def fdb(lab: Lab) -> dict[str, str]:
    entries = lab.live_cube("br", state=True).get("fdb", {}).get("entry", [])
    return {entry["address"]: entry["port"] for entry in entries}


def planned(lab: Lab, directory: Path, capsys: pytest.CaptureFixture[str]) -> Counts:
    """What the command says in JSON that an apply would cost."""
    file = directory / "lab.json"
    file.write_text(json.dumps(lab.document().data))
    capsys.readouterr()
    assert lab.pcn("apply", "--plan", "-o", "json", str(file)) == 2
    summary = json.loads(capsys.readouterr().out)["summary"]
    return Counts(*(summary[field.name] for field in fields(Counts)))


# -- a hundred ports --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hook", ["TC", "XDP_DRV"])
def test_one_port_more_on_a_bridge_of_a_hundred_touches_that_port_alone(hook, tmp_path, capsys):
    with Lab(wide(99, 100), hook=hook) as lab:
        lab.apply()
        loaded, links = lab.loaded("br"), lab.hooked()
        lab.cube("br")["ports"].append({"name": "p100", "peer": "v100"})
        said = planned(lab, tmp_path, capsys)
        done = lab.apply()
        offloads = [] if hook == "TC" else ["offload/:x100"]
        point = "tcx_ingress" if hook == "TC" else "xdp"
        assert sorted(step.address for step in done.plan.steps) == sorted([
            *offloads, "stub/cubes/br/in/99_p100", "cube/br/hop/99", "cube/br/member/99", f"hook/v100/{point}", "cube/br/port/p100",
            "topology/lab"])  # fmt: skip
        assert counts(done) == said == Counts(program_loads=1, link_changes=2 + len(offloads))  # the load is the port's way in
        assert str(done.plan.disruption) == "none"
        assert lab.loaded("br").items() >= loaded.items()
        assert lab.hooked().items() >= links.items()

        lab.cube("br")["ports"].pop(49)
        gone = lab.apply()
        assert sorted(step.address for step in gone.plan.steps) == sorted([
            *[address.replace("100", "50") for address in offloads], "stub/cubes/br/in/49_p50", "cube/br/hop/49", "cube/br/member/49",
            f"hook/v50/{point}", "cube/br/port/p50", "cube/br/table/fwdtable", "topology/lab", "packets"])  # fmt: skip
        assert counts(gone).program_loads == counts(gone).map_writes == 0
        loaded = {pin: number for pin, number in lab.loaded("br").items() if "p100" not in pin}
        assert loaded.items() <= lab.loaded("br").items()


@pytest.mark.parametrize("hook", HOOKS)
def test_a_bridge_that_gets_a_ninth_port_is_swapped_once_and_floods_to_it(hook):
    """Its program goes through 8 ports, or 32, or 128: what a flood's loop costs the verifier depends on it."""
    with Lab(wide(7, 9), hook=hook) as lab:
        lab.apply()
        with Everywhere() as seen:
            for more, swaps in ((8, 0), (9, 1)):
                lab.cube("br")["ports"].append({"name": f"p{more}", "peer": f"v{more}"})
                stub = 1  # the port's way in
                assert counts(lab.apply()).program_loads == stub + swaps
                send(1, BROADCAST, more)
                assert seen.found() == Counter((wire, more) for wire in range(2, more + 1))
        lab.cube("br")["ports"].pop()
        assert counts(lab.apply()).program_loads == 1
        assert not lab.drift()


# -- as many as there can be ------------------------------------------------------------------------------------------


class Everywhere:
    """Numbered frames as they arrive at the far ends of all wires, by the wire's number."""

    def __init__(self) -> None:
        self.wires = {netdev.index: int(name[1:]) for name, netdev in rtnl.links().items() if name[0] == "x"}
        self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERTYPE))
        self._sock.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
        self._sock.settimeout(0.3)

    def __enter__(self) -> Everywhere:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def found(self) -> Counter[tuple[int, int]]:
        """(wire, number of the frame), until nothing comes any more; what comes in at the bridge's ends is left out."""
        copies: Counter[tuple[int, int]] = Counter()
        try:
            while True:
                frame, address = self._sock.recvfrom(2048)
                wire = self.wires.get(socket.if_nametoindex(address[0]))
                if wire is not None:
                    copies[wire, int.from_bytes(frame[18:22], "big")] += 1
        except TimeoutError:
            return copies


def send(wire: int, target: str, number: int) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind((f"x{wire}", 0))
        sock.send(numbered(mac(wire), target, 0, number))
    time.sleep(0.001)


@pytest.mark.slow
@pytest.mark.parametrize("hook", HOOKS)
def test_a_bridge_of_128_ports_floods_to_all_and_forwards_to_each(hook):
    every = range(1, 129)
    with Lab(wide(128, 128), hook=hook) as lab:
        lab.apply()
        with Everywhere() as seen:
            for number, wire in enumerate((1, 64, 128)):
                send(wire, BROADCAST, number)
            flooded = seen.found()
            wanted = {(wire, number) for number, sender in enumerate((1, 64, 128)) for wire in every if wire != sender}
            assert flooded == Counter(wanted)
            for wire in every:
                send(wire, mac(255), wire)
            learned = seen.found()
            assert len(learned) == 128 * 127
            assert set(learned.values()) == {1}
            assert fdb(lab) == {mac(wire): f"p{wire}" for wire in every}
            for wire in every:
                send(129 - wire, mac(wire), wire)
            assert seen.found() == Counter((wire, wire) for wire in every)
        assert not lab.drops("br")
        assert not lab.drift()


def test_a_129th_port_is_an_error_of_the_document():
    with Lab(wide(129, 1)) as lab:
        with pytest.raises(DocumentError) as refused:
            lab.plan()
        problem, = refused.value.problems
        assert problem.path.startswith("/spec/cubes/br/ports")
        assert "128" in problem.message
        assert problem.where is not None
        assert lab.live() == {}


# -- peers and indices ------------------------------------------------------------------------------------------------

FOUR = """
hosts: {h1: 10.0.0.1/24, h2: 10.0.0.2/24, h3: 10.0.0.3/24, h4: 10.0.0.4/24}
cubes:
  - {name: br, service-name: simplebridge, ports: [{name: p1, peer: v1}, {name: p2, peer: v2}, {name: p3, peer: v3}]}
  - {name: on, service-name: simplebridge, ports: [{name: back}, {name: p4}]}
"""


@pytest.fixture(params=HOOKS)
def four(request):
    with Lab(FOUR, hook=request.param) as lab:
        lab.apply()
        yield lab


def test_a_port_that_is_removed_takes_with_it_what_was_learned_there(four):
    assert four.ok("h1", "10.0.0.2")
    assert four.ok("h1", "10.0.0.3")
    here, gone, other = (four.mac(host) for host in ("h1", "h2", "h3"))
    assert fdb(four) == {here: "p1", gone: "p2", other: "p3"}
    four.cube("br")["ports"].pop(1)
    four.apply()
    assert fdb(four) == {here: "p1", other: "p3"}
    assert not four.drift()


@pytest.mark.parametrize("at_once", [True, False])
def test_a_port_that_takes_another_s_place_does_not_inherit_its_stations(four, at_once):
    """Its index is given again, but not while packets may be on their way to it: not in one and the same apply."""
    assert four.ok("h1", "10.0.0.2")
    old = four.mac("h2")
    four.cube("br")["ports"].pop(1)
    if not at_once:
        four.apply()
    four.cube("br")["ports"].append({"name": "p4", "peer": "v4"})
    four.apply()
    assert four.reader().names("cubes/br/in") == (["0_p1", "2_p3", "3_p4"] if at_once else ["0_p1", "1_p4", "2_p3"])
    assert old not in fdb(four)
    with Census(four, ["h1", "h2", "h3", "h4"]) as census:
        stream, count = send_numbered(four, "h1", old)  # nobody knows where that is now
    assert [amiss(census.copies(host, stream), range(count)) for host in ("h3", "h4")] == ["", ""]
    assert not census.copies("h2", stream)
    assert four.ok("h1", "10.0.0.4")
    assert fdb(four)[four.mac("h4")] == "p4"
    assert not four.drift()


def test_a_station_that_was_pinned_to_a_port_cannot_stay_when_the_port_goes(four):
    four.cube("br")["fdb"] = {"entry": [{"address": mac(9), "port": "p2"}]}
    four.apply()
    four.cube("br")["ports"].pop(1)
    with pytest.raises(DocumentError, match="p2"):
        four.apply()
    four.cube("br")["fdb"]["entry"] = []
    four.apply()
    assert four.table("br", "fdb_static") == {}


def test_a_port_that_goes_from_one_netdev_to_another_loads_no_program(four, tmp_path, capsys):
    assert four.ok("h1", "10.0.0.2")
    loaded = four.loaded("br")
    four.port("br", "p2")["peer"] = "v4"
    said = planned(four, tmp_path, capsys)
    with Census(four, ["h3"]) as census, Flood(four, "h1") as flood:
        done = four.apply()
    assert amiss(census.copies("h3", flood.stream), range(flood.sent)) == ""
    assert counts(done) == said == Counts(link_changes=counts(done).link_changes)
    assert {step.address.split("/")[0] for step in done.plan.steps} <= {"cube", "hook", "offload", "topology", "packets"}
    assert four.loaded("br") == loaded
    assert four.ok("h1", "10.0.0.4")
    assert four.fails("h1", "10.0.0.2")
    assert four.live_cube("br")["ports"][1] == {"name": "p2", "peer": "v4"}


def own_programs(lab: Lab) -> dict[str, int]:
    """Of the two bridges, without their ways in."""
    return {pin: number for cube in ("br", "on") for pin, number in lab.loaded(cube).items() if "/in/" not in pin}


def test_a_port_that_goes_from_a_netdev_to_another_cube_loads_what_runs_both_as_one_and_no_program_of_theirs(four):
    four.port("br", "p2")["peer"] = "on:back"
    four.port("on", "back")["peer"] = "br:p2"
    four.port("on", "p4")["peer"] = "v4"
    loaded = own_programs(four)
    with Census(four, ["h3"]) as census, Flood(four, "h1") as flood:
        done = four.apply()
    assert amiss(census.copies("h3", flood.stream), range(flood.sent)) == ""
    assert {step.operation.kind for step in done.plan.steps if step.counts == PROGRAM_LOADS} == {"load_chain"}
    assert counts(done).map_writes == 0
    assert own_programs(four) == loaded
    assert four.ok("h1", "10.0.0.4")
    assert four.ok("h4", "10.0.0.3")


@pytest.mark.parametrize("hook", HOOKS)
def test_the_ports_of_a_cube_that_has_two_may_all_be_replaced_at_once(hook):
    """Such a cube knows one port from the other by their indices, so no third one may be given."""
    scenario = """
    hosts: {h1: 10.0.0.1/24, h2: 10.0.0.2/24}
    cubes: [{name: hw, service-name: helloworld, action: FORWARD, ports: [{name: p1, peer: v1}, {name: p2, peer: v2}]}]
    """
    with Lab(scenario, hook=hook) as lab:
        lab.apply()
        lab.port("hw", "p2")["name"] = "p3"
        lab.apply()
        assert lab.ok("h1", "10.0.0.2")
        lab.cube("hw")["ports"] = [{"name": "a", "peer": "v2"}, {"name": "b", "peer": "v1"}]
        lab.apply()
        assert lab.ok("h1", "10.0.0.2")
        assert not lab.drift()


@pytest.mark.parametrize("hook", HOOKS)
def test_names_that_mean_something_to_pcn_or_to_bpffs_are_names_like_any_other(hook):
    scenario = """
    links: [{name: v.1, kind: veth, peer: {name: x.1}}, {name: v~2, kind: veth, peer: {name: x+2}}]
    cubes:
      - name: twin
        service-name: helloworld
        loglevel: TRACE
        action: FORWARD
        ports: [{name: p.1, peer: v.1, tcubes: [current]}, {name: g1, peer: "tables:in"}]
      - {name: tables, service-name: simplebridge, ports: [{name: in, peer: "twin:g1"}, {name: o-u_t., peer: v~2}]}
      - {name: current, service-name: transparenthelloworld}
      - {name: a.b, service-name: transparenthelloworld}
    attachments: [{netdev: v~2, tcubes: [a.b]}]
    """
    with Lab(scenario, hook=hook) as lab:
        lab.apply()
        there, back = numbered(mac(1), BROADCAST, 0, 1), numbered(mac(2), mac(1), 0, 2)
        with lab.sniff(None, "x+2") as left, lab.sniff(None, "x.1") as right, lab.logged() as lines:
            lab.send(None, there, device="x.1")
            assert left.next(1, lambda found: found == there)
            lab.send(None, back, device="x+2")
            assert right.next(1, lambda found: found == back)
        assert lines[:2] == ["twin: [INGRESS] Receiving packet from port p.1", "twin: Forwarding packet to port g1"]
        assert not lab.plan().plan.steps
        assert not lab.drift()
        assert lab.live()["attachments"] == [{"netdev": "v~2", "tcubes": ["a.b"]}]
