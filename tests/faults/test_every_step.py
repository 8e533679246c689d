"""An apply that fails anywhere leaves the kernel as it was: a fault at every step of every example, of edits, and of deletions.

Each step fails once instead of being done. What is there after a step that was done is what a failure of the one that follows
finds, so that of the failures *after* a step every fifth will do: they differ in nothing but what is taken back first.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from copy import deepcopy

import pytest

from tests.faults.bench import Bench, Picture, at_once
from tests.faults.graphs import EXAMPLES, Data, cube, example, unique, unreachable
from tests.faults.injection import inject

pytestmark = pytest.mark.timeout(300)  # as many applies as there are steps

Edit = Callable[[Data], object]


def _a_slower_ageing(data: Data) -> None:
    cube(data, "br1")["fdb"] = {"aging-time": 10}


def _a_third_host(data: Data) -> None:
    """A namespace, a link, and a port of the first bridge."""
    spec = data["spec"]
    near, space = spec["links"][0]["name"][:-1] + "n", spec["namespaces"][0] + "n"
    address = spec["links"][0]["peer"]["addresses"][0].replace(".1/24", ".9/24")
    spec["namespaces"].append(space)
    spec["links"].append({"name": near, "kind": "veth", "peer": {"name": "eth0", "netns": space, "addresses": [address]}})
    bridge = next(c for c in spec["cubes"] if c["service-name"] == "simplebridge")
    bridge["ports"].append({"name": "new", "peer": near})


def _one_host_less(data: Data) -> None:
    spec = data["spec"]
    doomed = spec["links"].pop()
    spec["namespaces"].remove(doomed["peer"]["netns"])
    for each in spec["cubes"]:
        each["ports"] = [port for port in each.get("ports", ()) if port.get("peer") != doomed["name"]]
        if not each["ports"]:
            del each["ports"]


def _another_type(data: Data) -> None:
    for each in data["spec"]["cubes"]:
        each["type"] = "XDP_SKB" if each.get("type", "TC") == "TC" else "TC"


def _a_louder_log(data: Data) -> None:
    for each in data["spec"]["cubes"]:
        each["loglevel"] = "TRACE"


def _a_shorter_chain(data: Data) -> None:
    """Without the cube in the middle."""
    spec = data["spec"]
    middle = cube(data, "sw")
    spec["cubes"].remove(middle)
    first, last = cube(data, "fwd1"), cube(data, "fwd2")
    first["ports"][1]["peer"], last["ports"][0]["peer"] = f"{last['name']}:west", f"{first['name']}:east"


def _an_empty_blacklist(data: Data) -> None:
    del cube(data, "guard")["blacklist-src"]


def _a_longer_blacklist(data: Data) -> None:
    name = "guard" if any(c["name"].endswith("guard") and not c["name"].endswith("xguard") for c in data["spec"]["cubes"]) else "xguard"
    guard = cube(data, name)
    guard["blacklist-src"] = [*guard.get("blacklist-src", ()), {"ip": "192.0.2.1"}]


def _the_guards_elsewhere(data: Data) -> None:
    """Transparent cubes change places."""
    ports = cube(data, "lan")["ports"]
    ports[1]["tcubes"], ports[2]["tcubes"] = ports[2]["tcubes"], ports[1]["tcubes"]


def _a_larger_mtu(data: Data) -> None:
    link = data["spec"]["links"][0]
    link["mtu"] = link["peer"]["mtu"] = 1600
    link["peer"]["addresses"].append("192.0.2.7/24")


def _a_peer_of_another_name(data: Data) -> None:
    """The link must be made anew, and everything on it follows."""
    data["spec"]["links"][0]["peer"]["name"] = "wire"


def _a_link_of_another_name(data: Data) -> None:
    """Its far end stays what and where it is: the old link has to go before the new one can be made."""
    old = data["spec"]["links"][0]["name"]
    data["spec"]["links"][0]["name"] = f"{old}r"
    for each in data["spec"]["cubes"]:
        for port in each.get("ports", ()):
            if port.get("peer") == old:
                port["peer"] = f"{old}r"


def _ports_the_other_way_round(data: Data) -> None:
    one, two = cube(data, "br1")["ports"]
    one["peer"], two["peer"] = two["peer"], one["peer"]


def _another_service(data: Data) -> None:
    old = cube(data, "sw")
    old.update({"service-name": "simpleforwarder", "actions": deepcopy(cube(data, "fwd1")["actions"])})
    del old["action"]


EDITS: dict[str, list[Edit]] = {
    "simplebridge": [_a_slower_ageing, _a_third_host, _another_type, _a_larger_mtu, _a_link_of_another_name, _ports_the_other_way_round],
    "simpleforwarder": [_a_louder_log, _a_shorter_chain, _another_service, _a_peer_of_another_name],
    "ddosmitigator": [_an_empty_blacklist, _a_longer_blacklist, _the_guards_elsewhere, _one_host_less],
    "simplebridge-xdp": [_a_longer_blacklist, _a_third_host, _another_type, _a_peer_of_another_name],
}  # fmt: skip


Way = Callable[[Bench, int], list[str]]
"""Let each step of a share fail, one apply after the other; gives what is wrong."""


def both_shares(root: str, way: Way) -> list[str]:
    return at_once(root, lambda bench: way(bench, 0), lambda bench: way(bench, 1))


def faults(run: Callable[..., object], share: int) -> Iterator[tuple[str, str]]:
    """Gives (where, phase) after each fault of this share, 0 or 1, and ends with the change made.

    After a fault in the retiring phase the change is in force, and nothing is raised; it is the consumer's business to go
    back.
    """
    for number in itertools.count(share, 2):
        for half_done in (False, True) if number % 10 == share else (False,):
            met = inject(run, number, half_done=half_done)
            if met.step is None:
                assert met.error is None, met.error
                return
            where = f"{'after' if half_done else 'instead of'} step {number}, {met.step.operation.kind} {met.step.address}"
            phase = met.step.rank.phase
            assert (met.error is None) == (phase == "retire"), f"{where}: {met.error!r}"
            yield where, phase


def compare(where: str, is_now: Picture, should_be: Picture) -> list[str]:
    return [f"{where}: {difference}" for difference in is_now.differences(should_be)]


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_first_apply_that_fails_at_any_step_leaves_nothing(own_root: str, name: str) -> None:
    def way(bench: Bench, share: int) -> list[str]:
        wanted = unique(example(name))
        network = bench.network(wanted)
        before = bench.picture(network)
        assert before.paths == frozenset()
        wrong: list[str] = []
        try:
            for where, phase in faults(lambda **more: bench.apply(wanted, **more), share):
                assert phase != "retire", "a first apply has nothing to retire"
                wrong += compare(where, bench.picture(network), before)
            wrong += unreachable(wanted)
        finally:
            bench.clear()
        return wrong

    assert both_shares(own_root, way) == []


@pytest.mark.parametrize(("name", "edit"), [(name, edit) for name in EXAMPLES for edit in EDITS.get(name, ())],
                         ids=lambda part: part if isinstance(part, str) else part.__name__.strip("_"))  # fmt: skip
def test_an_edit_that_fails_at_any_step_leaves_the_graph_as_it_was(own_root: str, name: str, edit: Edit) -> None:
    def way(bench: Bench, share: int) -> list[str]:
        old = unique(example(name))
        new = deepcopy(old)
        edit(new)
        return _fails_at_any_step(bench, old, new, share)

    assert both_shares(own_root, way) == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_deletion_that_fails_at_any_step_leaves_the_graph_or_is_finished_by_the_next(own_root: str, name: str) -> None:
    assert both_shares(own_root, lambda bench, share: _fails_at_any_step(bench, unique(example(name)), None, share)) == []


def _fails_at_any_step(bench: Bench, old: Data, new: Data | None, share: int) -> list[str]:
    """From `old` to `new` (None: nothing)."""

    def change(**more: object) -> None:
        if new is None:
            bench.delete(old, **more)
        else:
            bench.apply(new, **more)

    wrong: list[str] = []
    try:
        bench.apply(old)
        network = bench.network(old, *([new] if new else []))
        before = bench.picture(network)
        wrong += unreachable(old)
        for where, phase in faults(change, share):
            if phase != "retire":
                wrong += compare(where, bench.picture(network), before)
                wrong += [f"{where}: {pair} do not talk" for pair in unreachable(old, timeout=0.5)]
                continue
            change()
            wrong += [f"{where}: {each.address} is still to be done" for each in bench.plan(new or old, delete=not new).plan.steps]
            wrong += [f"{where}: {path} is left" for path in bench.paths()] if new is None else []
            bench.apply(old)
            before = bench.picture(network)
        wrong += unreachable(new or {"spec": {}})
    finally:
        bench.clear()
    return wrong
