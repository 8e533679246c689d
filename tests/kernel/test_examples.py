"""Every example, as it is: it applies, is what it says, does what its comment says, and goes without a trace."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import pytest

from reconciler.document.emitter import dump_yaml
from reconciler.document.load import load, parse
from reconciler.engine.apply import apply, drift, plan_for
from reconciler.plan.steps import LINK_CHANGES, MAP_WRITES, PROGRAM_LOADS
from reconciler.present.show import show
from tests.faults.bench import Bench
from tests.faults.graphs import EXAMPLES, TOPOLOGIES, Data, Host, cube, documents, example, hosts
from tests.lib.packets import ping

_PATIENCE = 6.0  # seconds: a router asks for a neighbour with the first packet, and has to drop it


def _two_hosts(data: Data) -> None:
    cube(data, "br1")["fdb"]["aging-time"] = 121


def _forwarder_chain(data: Data) -> None:
    cube(data, "sw")["action"] = "DROP"


def _blacklist(data: Data) -> None:
    cube(data, "guard")["blacklist-src"].append({"ip": "192.0.2.1"})


def _xdp_switch(data: Data) -> None:
    cube(data, "xguard")["blacklist-src"] = [{"ip": "10.3.0.2"}]


def _router(data: Data) -> None:
    cube(data, "gw")["route"].pop()


def _bridge(data: Data) -> None:
    cube(data, "floor1")["ports"][0]["access"]["vlanid"] = 20


def _nat(data: Data) -> None:
    cube(data, "border")["rule"]["port-forwarding"]["entry"].pop()


def _host(data: Data) -> None:
    cube(data, "hostfw")["chain"][0]["rule"].pop()


def another_loglevel(data: Data) -> None:
    data["spec"]["cubes"][0]["loglevel"] = "TRACE"


EDITS: dict[str, Callable[[Data], None]] = {
    "simplebridge": _two_hosts, "simpleforwarder": _forwarder_chain, "ddosmitigator": _blacklist, "simplebridge-xdp": _xdp_switch,
    "router": _router, "bridge": _bridge, "nat": _nat, "iptables": _host,
}  # fmt: skip
"""What the example's comment says to try; for any other, something that every example has."""

SILENT = {"ddosmitigator": {"bad"}, "k8sfilter": {"fout"}, "iptables": {"ihome", "ioffice"}}
"""Hosts that nobody reaches, and that reach nobody."""
HIDDEN = {"nat": {("nout", "nin"), ("nout", "nweb")}, "k8sdispatcher": {("dout", "dpod")}}
"""Pairs of which the first does not reach the second by its own address, though the second reaches the first."""

APART = {"bridge"}
"""Examples in which each subnet is for itself."""


@pytest.fixture
def bench(own_root: str) -> Bench:
    return Bench(own_root)


def counts(result: object) -> dict[str, int]:
    return {what: result.plan.total(what) for what in (PROGRAM_LOADS, MAP_WRITES, LINK_CHANGES)}  # type: ignore[attr-defined]


def answers(a: Host, b: Host) -> bool:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        if ping(a.netns, b.ip, 1, timeout=0.5):
            return ping(a.netns, b.ip, 2) == 2
    return False


def wrong_answers(name: str, data: Data) -> list[str]:
    """Pairs of hosts of which the first reaches the second where the example's comment says otherwise."""
    there = hosts(data)
    found = []
    for a, b in itertools.permutations(there, 2):
        silent = {a.netns, b.netns} & SILENT.get(name, set()) or (name in APART and a.subnet != b.subnet)
        silent = silent or (a.netns, b.netns) in HIDDEN.get(name, set())
        if silent and ping(a.netns, b.ip, 2, timeout=0.3):
            found.append(f"{a.netns} reaches {b.ip}")
        elif not silent and not answers(a, b):
            found.append(f"{a.netns} does not reach {b.ip}")
    return found


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_runs_as_it_is_and_leaves_nothing(bench: Bench, name: str) -> None:
    options = bench.options()
    given = load([str(TOPOLOGIES / f"{name}.yaml")])
    try:
        assert counts(apply(given, options))[PROGRAM_LOADS] > 0
        again = apply(given, options)
        assert again.plan.steps == ()
        assert counts(again) == {PROGRAM_LOADS: 0, MAP_WRITES: 0, LINK_CHANGES: 0}
        assert wrong_answers(name, example(name)) == []
        assert drift(options) == []
        (shown,) = show(options)
        assert [step.address for step in plan_for(parse(dump_yaml(shown), "what is shown"), options).plan.steps] == []
        edited = example(name)
        EDITS.get(name, another_loglevel)(edited)
        planned = plan_for(documents(edited), options)
        assert planned.session.pending
        assert not planned.session.drift
        assert planned.plan.steps
        assert drift(options) == [], "planning has changed something"
    finally:
        apply(given, options, delete=True)
    assert list(bench.paths()) == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_the_comment_says_to_try_can_be_tried_and_taken_back(bench: Bench, name: str) -> None:
    given, edited = example(name), example(name)
    EDITS.get(name, another_loglevel)(edited)
    try:
        bench.apply(given)
        changed = bench.apply(edited)
        assert counts(changed)[LINK_CHANGES] == 0
        if name in ("simplebridge", "simpleforwarder", "ddosmitigator"):
            writes = 2 if name == "ddosmitigator" else 1  # the address, and its bits in front of the list
            assert counts(changed) == {PROGRAM_LOADS: 0, MAP_WRITES: writes, LINK_CHANGES: 0}
        assert bench.plan(edited).plan.steps == ()
        if name == "simpleforwarder":
            assert not ping("left", "10.1.0.2", 2, timeout=0.3)
        bench.apply(given)
        assert wrong_answers(name, given) == []
    finally:
        bench.delete(given)
    assert list(bench.paths()) == []
