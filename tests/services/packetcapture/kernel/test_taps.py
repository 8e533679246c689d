"""A tap at any place of a graph: no document has it, it is no drift, it loses nothing, and it goes with its command."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.engine.apply import apply
from reconciler.live import taps
from tests.lib.agent_process import AgentProcess
from tests.lib.lab import Lab
from tests.services.packetcapture.lab import begun, capturing, ended, eventually, tcpdump
from tests.upgrade.traffic import Traffic, udp

pytestmark = pytest.mark.kernel
# h1 - br1 - br2 - h2: between the switches there is no netdev, and they are one program
SPEC = {
    "hosts": {"h1": "10.0.0.1/24", "h2": "10.0.0.2/24"},
    "cubes": [
        {"name": "br1", "service-name": "simplebridge", "ports": [{"name": "p1", "peer": "v1", "tcubes": ["fw"]}, {"name": "on", "peer": "br2:on"}]},
        {"name": "br2", "service-name": "simplebridge", "ports": [{"name": "on", "peer": "br1:on"}, {"name": "p2", "peer": "v2"}]},
        {"name": "fw", "service-name": "transparenthelloworld"},
    ],
}  # fmt: skip
PLACES = ["br1:p1", "br1:p1/fw", "br1:on", "br2:on", "br2:p2"]


@pytest.fixture(params=["TC"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab(json.dumps(SPEC), hook=request.param) as found:
        found.apply()
        assert found.ok("h1", "10.0.0.2")
        yield found


def left(lab: Lab) -> list[str]:
    return [name for name in os.listdir(f"{lab.root}/cubes") if name.startswith("tap")]


def as_applied(lab: Lab) -> bool:
    return not left(lab) and not lab.drift() and lab.plan().plan.steps == ()


@pytest.mark.parametrize("lab", ["TC", "XDP_DRV"], indirect=True)
def test_at_each_place_each_packet_is_seen_once_and_after_it_all_is_as_before(lab: Lab, tmp_path: Path) -> None:
    before, shown = lab.loaded("br2"), lab.live()
    for place in PLACES:
        file = tmp_path / "a.pcapng"
        with capturing(lab, place, "icmp", "-w", str(file), "-c", "4") as child:
            assert place in begun(child)
            assert lab.ok("h1", "10.0.0.2")
            assert child.wait(30) == 0
        lines = tcpdump(file)
        assert [("request" in line, "reply" in line) for line in lines] == [(True, False), (False, True)] * 2
        assert place.encode() in file.read_bytes()
        assert as_applied(lab)
    assert lab.live() == shown
    assert lab.loaded("br2").keys() == before.keys()


@pytest.mark.parametrize("hook", ["TC", "XDP_DRV"])
def test_at_a_netdev_with_attachments_it_is_next_to_the_host_s_stack_or_nearer_to_the_wire(hook: str, tmp_path: Path) -> None:
    host = {"addresses": ["10.0.0.1/24"], "here": {"addresses": ["10.0.0.254/24"]}}
    spec = {"hosts": {"h1": host}, "cubes": [{"name": "fw", "service-name": "transparenthelloworld"}],
            "attachments": [{"netdev": "v1", "tcubes": ["fw"]}]}  # fmt: skip
    with Lab(json.dumps(spec), hook=hook) as lab:
        lab.apply()
        assert lab.ok("h1", "10.0.0.254")
        lab.cube("fw")["egress-action"] = "DROP"
        lab.apply()
        for place, expected in (("v1", (2, 2)), ("v1/fw", (2, 0))):  # the answers do not come as far as the wire
            with capturing(lab, place, "icmp", "-w", str(tmp_path / "a")) as child:
                begun(child)
                assert lab.fails("h1", "10.0.0.254")
                assert f"{sum(expected)} packets captured" in ended(child)
            lines = tcpdump(tmp_path / "a")
            assert (sum("request" in line for line in lines), sum("reply" in line for line in lines)) == expected
        assert as_applied(lab)


def test_while_it_is_there_it_is_no_drift_and_in_no_document_and_applies_leave_it(lab: Lab, tmp_path: Path) -> None:
    shown = lab.live()
    with capturing(lab, "br1:on", "-d", "in", "-w", str(tmp_path / "a")) as child:
        begun(child)
        assert left(lab)
        assert not lab.drift()
        assert lab.plan().plan.steps == ()
        assert lab.live() == shown
        lab.cube("fw")["loglevel"] = "DEBUG"
        assert lab.apply().plan.steps
        assert left(lab)
        assert lab.ok("h1", "10.0.0.2")
        assert "0 lost" in ended(child)
    assert as_applied(lab)


def test_traffic_loses_nothing_when_it_comes_and_goes(lab: Lab, tmp_path: Path) -> None:
    flows = Traffic([udp(lab.space("h1"), lab.space("h2"), "10.0.0.2")])
    try:
        flows.start()
        for place in ("br1:on", "br1:p1", "br2:p2", "br1:on"):
            with capturing(lab, place, "udp", "-w", str(tmp_path / "a"), "-c", "3") as child:
                begun(child)
                assert child.wait(30) == 0
        flows.stop()
        assert flows.losses() == []
    finally:
        flows.close()
    assert as_applied(lab)


def test_when_its_command_is_killed_it_goes_too(lab: Lab, tmp_path: Path) -> None:
    with capturing(lab, "br1:on", "-w", str(tmp_path / "a")) as child:
        begun(child)
        assert left(lab)
        child.send_signal(signal.SIGKILL)
        child.wait(30)
        eventually(lambda: not left(lab))
    eventually(lambda: as_applied(lab))
    assert lab.ok("h1", "10.0.0.2")


def test_when_all_that_would_remove_it_are_killed_the_next_apply_does(lab: Lab, tmp_path: Path) -> None:
    from reconciler.cli.main import main

    for remove in (lambda: apply([], lab.options), lambda: main(["gc", "--bpffs", lab.root, "-q"])):
        with capturing(lab, "br1:on", "-w", str(tmp_path / "a")) as child:
            begun(child)
            for number in children_of(child.pid):
                os.kill(number, signal.SIGKILL)
            child.send_signal(signal.SIGKILL)
            child.wait(30)
        assert left(lab)
        assert taps.read(lab.root) == ()
        assert [change.address for change in lab.drift()]
        remove()
        assert not left(lab)
        lab.apply()
        assert as_applied(lab)


def test_an_agent_leaves_it_as_long_as_it_is_asked_for_and_removes_it_afterwards(lab: Lab, tmp_path: Path) -> None:
    with AgentProcess(lab.root, tmp_path / "log") as agent, capturing(lab, "br1:on", "-w", str(tmp_path / "a")) as child:
        begun(child)
        looks = agent.status()["looks"]
        agent.until(lambda said: said["looks"] > looks + 2, 30)
        assert left(lab)
        assert agent.status()["drift"]["healed"] == 0
        for number in children_of(child.pid):
            os.kill(number, signal.SIGKILL)
        child.send_signal(signal.SIGKILL)
        child.wait(30)
        eventually(lambda: not left(lab))
        agent.until(lambda said: said["healthy"])
    assert as_applied(lab)


def children_of(number: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{number}/task/{number}/children").read_text().split()]


@pytest.mark.parametrize(("place", "said"), [
    ("br1:p9", "no port or attachment 'br1:p9'"), ("br1:p1/dw", "no transparent cube 'dw' at br1:p1"), ("nowhere", "no port or attachment"),
])  # fmt: skip
def test_a_place_that_is_not_there_is_refused(lab: Lab, tmp_path: Path, place: str, said: str) -> None:
    with capturing(lab, place, "-w", str(tmp_path / "a")) as child:
        assert child.wait(30) == 64
        assert said in begun(child)
    assert as_applied(lab)


def test_a_filter_that_is_none_is_refused_before_anything_is_touched(lab: Lab, tmp_path: Path) -> None:
    with capturing(lab, "br1:on", "tcp port", "-w", str(tmp_path / "a")) as child:
        assert child.wait(30) == 65
        assert child.stderr is not None
        assert "not a filter" in child.stderr.read()
    assert as_applied(lab)


def test_a_kernel_that_is_not_as_applied_is_left_so(lab: Lab, tmp_path: Path) -> None:
    os.unlink(f"{lab.root}/cubes/fw/drops")
    with capturing(lab, "br1:on", "-w", str(tmp_path / "a")) as child:
        assert child.wait(30) == 64
        assert "apply first" in begun(child)
    assert lab.drift()


def test_two_at_once_are_at_the_same_place_or_at_others(lab: Lab, tmp_path: Path) -> None:
    with capturing(lab, "br1:on", "icmp", "-w", str(tmp_path / "a"), "-c", "4") as one:
        begun(one)
        with capturing(lab, "br1:on", "icmp", "-w", str(tmp_path / "b"), "-c", "4") as other:
            begun(other)
            assert len(left(lab)) == 2
            assert lab.ok("h1", "10.0.0.2")
            assert one.wait(30) == other.wait(30) == 0
    assert len(tcpdump(tmp_path / "a")) == len(tcpdump(tmp_path / "b")) == 4
    eventually(lambda: as_applied(lab))


def test_when_its_place_goes_it_ends(lab: Lab, tmp_path: Path) -> None:
    with capturing(lab, "br1:on", "-w", str(tmp_path / "a")) as child:
        begun(child)
        lab.cube("br1")["ports"].pop()
        lab.cube("br2")["ports"].pop(0)
        lab.apply()
        assert child.wait(30) == 0
    assert as_applied(lab)
