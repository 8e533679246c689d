"""Cubes and tables that are replaced, and programs that are swapped, under traffic: the plan says what it costs, and it costs
no more than that."""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import pytest

from reconciler.engine.apply import ApplyResult
from reconciler.errors import VerifierError
from reconciler.kernel.bpffs import Bpffs
from reconciler.kernel.reader import Reader
from reconciler.plan.steps import LINK_CHANGES, MAP_WRITES, PROGRAM_LOADS, Disruption
from reconciler.present.show import show
from tests.faults.bench import Bench, variant
from tests.faults.flow import Flow
from tests.faults.graphs import Data, cube, example, hosts, talking, unique, unreachable
from tests.lib.packets import ping


@pytest.fixture
def bench(own_root: str) -> Bench:
    return Bench(own_root)


@dataclass
class Change:
    """What an apply under traffic came to."""

    result: ApplyResult
    lost: int

    @property
    def counts(self) -> tuple[int, int, int]:
        loads, writes, links = (self.result.plan.total(what) for what in (PROGRAM_LOADS, MAP_WRITES, LINK_CHANGES))
        return loads, writes, links

    @property
    def disruption(self) -> Disruption:
        return self.result.plan.disruption

    def said(self, disruption: Disruption) -> list[str]:
        """Addresses of the steps that say so."""
        return [step.address for step in self.result.plan.steps if step.disruption == disruption]


def under_traffic(data: Data, change: Callable[[], ApplyResult]) -> Change:
    """Datagrams flow between the first two hosts that talk, one way; then there is silence for what is late."""
    a, b = talking(data)[0]
    assert ping(a.netns, b.ip, 2) == 2
    with Flow(a.netns, b.netns, b.ip) as traffic:
        time.sleep(0.05)
        result = change()
        time.sleep(0.05)
    assert traffic.sent > 50
    return Change(result, traffic.lost)


# -- another service or type under an old name -----------------------------------------------------------------------------

TYPES = ["TC", "XDP_SKB", "XDP_DRV"]


@pytest.mark.parametrize(("old", "new"), [(a, b) for a in TYPES for b in TYPES if a != b])
def test_a_cube_of_another_type_starts_anew_and_works(bench: Bench, old: str, new: str) -> None:
    before, after = unique(example("simplebridge")), {}
    cube(before, "br1")["type"] = old
    after = deepcopy(before)
    cube(after, "br1")["type"] = new
    bench.apply(before)
    try:
        change = under_traffic(before, lambda: bench.apply(after))
        name = cube(after, "br1")["name"]
        assert f"cube/{name}" in change.said(Disruption.STATE_RESET)
        assert bench.plan(after).plan.steps == ()
        assert unreachable(after) == []
        assert not any("~" in path for path in bench.paths())
        if change.disruption == Disruption.STATE_RESET:
            assert change.lost == 0
    finally:
        bench.clear()


@pytest.mark.parametrize(("old", "new"), [(a, b) for a in TYPES for b in TYPES if a != b])
def test_joined_bridges_that_flood_through_each_other_change_their_type_together(bench: Bench, old: str, new: str) -> None:
    before = unique(example("simplebridge"))
    name, (first, second) = cube(before, "br1")["name"], cube(before, "br1")["ports"]
    other = {"name": f"{name}b", "service-name": "simplebridge", "ports": [second, {"name": "x", "peer": f"{name}:x"}]}
    cube(before, "br1")["ports"] = [first, {"name": "x", "peer": f"{name}b:x"}]
    before["spec"]["cubes"].append(other)
    after = deepcopy(before)
    for data, kind in ((before, old), (after, new)):
        for each in data["spec"]["cubes"]:
            each["type"] = kind
    bench.apply(before)
    try:
        assert unreachable(before) == []
        bench.apply(after)
        assert bench.plan(after).plan.steps == ()
        assert unreachable(after) == []
    finally:
        bench.clear()


@pytest.mark.parametrize("kind", ["TC", "XDP_DRV"])
def test_a_cube_of_another_service_takes_over_without_a_loss(bench: Bench, kind: str) -> None:
    """The switch point in the middle of a chain becomes a forwarder, which forwards just so."""
    before = unique(example("simpleforwarder"))
    for each in before["spec"]["cubes"]:
        each["type"] = kind
    after = deepcopy(before)
    sw = cube(after, "sw")
    sw.update({"service-name": "simpleforwarder", "actions": deepcopy(cube(before, "fwd1")["actions"])})
    del sw["action"]
    bench.apply(before)
    try:
        for data in (after, before):
            change = under_traffic(before, lambda data=data: bench.apply(data))
            assert (change.disruption, change.lost) == (Disruption.STATE_RESET, 0)
            assert change.said(Disruption.STATE_RESET) == [f"cube/{sw['name']}"]
            assert {name for step in change.result.plan.steps for name in step.reaches} == {
                cube(before, "fwd1")["name"], cube(before, "fwd2")["name"]}  # fmt: skip
            assert bench.plan(data).plan.steps == ()
            assert unreachable(data) == []
    finally:
        bench.clear()


# -- another code ----------------------------------------------------------------------------------------------------------

FORGETFUL = {"(known->port != port || known->seen != now)": "(known->port != port || known->seen < now)"}
"""The bridge with code that differs and does the same."""


def learned(bench: Bench) -> set[str]:
    (document,) = show(bench.options(), state=True)
    return {entry["address"] for entry in cube(document, "br1")["fdb"].get("entry", ())}


@pytest.mark.parametrize("kind", ["TC", "XDP_DRV"])
def test_new_code_of_a_service_is_one_swap_that_keeps_what_was_learned_and_loses_no_packet(bench: Bench, tmp_path: Path, kind: str) -> None:
    data = unique(example("simplebridge"))
    cube(data, "br1")["type"] = kind
    edited = Bench(bench.root, variant(tmp_path / "services", "simplebridge", FORGETFUL))
    bench.apply(data)
    try:
        assert unreachable(data) == []
        before = learned(bench)
        assert len(before) >= 2
        assert edited.plan(data).plan.steps
        change = under_traffic(data, lambda: edited.apply(data))
        assert (change.counts, change.disruption, change.lost) == ((1, 0, 0), Disruption.NONE, 0)
        assert before <= learned(edited)
        assert edited.plan(data).plan.steps == ()
        change = under_traffic(data, lambda: bench.apply(data))  # and back
        assert (change.counts, change.disruption, change.lost) == ((1, 0, 0), Disruption.NONE, 0)
        assert before <= learned(bench)
        assert unreachable(data) == []
    finally:
        bench.clear()


def test_many_swaps_in_a_row_lose_nothing(bench: Bench) -> None:
    """Ten generations of every program of a chain, while packets are inside them."""
    data = unique(example("simpleforwarder"))
    bench.apply(data)
    a, b = hosts(data)
    try:
        assert unreachable(data) == []
        with Flow(a.netns, b.netns, b.ip) as there, Flow(b.netns, a.netns, a.ip) as back:
            for number in range(10):
                cube(data, "sw")["loglevel"] = ("TRACE", "INFO")[number % 2]
                result = bench.apply(data)
                assert result.plan.total(PROGRAM_LOADS) >= 2
                assert result.plan.disruption == Disruption.NONE
        assert (there.lost, back.lost) == (0, 0)
        assert len([path for path in bench.paths() if path.endswith("/ingress_0")]) == 3, "old generations are left"
    finally:
        bench.clear()


def test_code_that_the_verifier_refuses_is_refused_while_packets_go_on(bench: Bench, tmp_path: Path) -> None:
    data = unique(example("simplebridge"))
    bad = {"if (data + sizeof(*eth) > data_end) {": "if (data + 1 > data_end) {"}
    edited = Bench(bench.root, variant(tmp_path / "services", "simplebridge", bad))
    bench.apply(data)
    try:
        network = bench.network(data)
        before = bench.picture(network)

        def refused() -> ApplyResult:
            with pytest.raises(VerifierError, match=r"simplebridge\.c") as error:
                edited.apply(data)
            assert "invalid access to packet" in str(error.value)
            return bench.plan(data)

        change = under_traffic(data, refused)
        assert change.lost == 0
        assert bench.picture(network).differences(before) == []
    finally:
        bench.clear()


def test_a_cube_of_another_type_whose_code_is_refused_goes_on_as_it_was(bench: Bench, tmp_path: Path) -> None:
    """It has stood aside by then, and comes back."""
    data = unique(example("simplebridge"))
    bad = {"if (data + sizeof(*eth) > data_end) {": "if (data + 1 > data_end) {"}
    edited = Bench(bench.root, variant(tmp_path / "services", "simplebridge", bad))
    other = deepcopy(data)
    cube(other, "br1")["type"] = "XDP_DRV"
    bench.apply(data)
    try:
        network = bench.network(data)
        before = bench.picture(network)

        def refused() -> ApplyResult:
            with pytest.raises(VerifierError):
                edited.apply(other)
            return bench.plan(data)

        change = under_traffic(data, refused)
        assert change.lost == 0
        assert change.result.plan.steps == ()
        assert bench.picture(network).differences(before) == []
    finally:
        bench.clear()


# -- another shape of a table ------------------------------------------------------------------------------------------------


def max_entries(bench: Bench, table: str) -> int:
    reader = Reader(Bpffs(bench.root))
    path = next(path for path in bench.paths() if path.endswith(f"/tables/{table}"))
    spec = reader.spec(path.removeprefix(f"{bench.root}/"))
    assert spec is not None
    return spec.max_entries


@pytest.mark.parametrize("kind", ["TC", "XDP_DRV"])
def test_a_table_of_another_size_keeps_its_learned_rows_and_no_packet_is_lost(bench: Bench, kind: str) -> None:
    data = unique(example("simplebridge"))
    cube(data, "br1")["type"] = kind
    bench.apply(data)
    try:
        cube(data, "br1")["fdb"] = {"max-stations": 32768}
        change = under_traffic(data, lambda: bench.apply(data))
        assert change.said(Disruption.STATE_RESET) == []
        assert (change.disruption, change.lost) == (Disruption.NONE, 0)
        assert max_entries(bench, "fwdtable") == 32768
        assert bench.plan(data).plan.steps == ()
        assert unreachable(data) == []
        assert not any("~" in path for path in bench.paths())
    finally:
        bench.clear()


def test_a_table_of_configuration_of_another_size_has_its_rows_from_the_start(bench: Bench, tmp_path: Path) -> None:
    """Full before anything looks into it: what is barred stays barred, and what passes passes."""
    data = unique(example("ddosmitigator"))
    good, bad, server = hosts(data)
    smaller = {"u64, srcblacklist, 65536": "u64, srcblacklist, 1024"}
    edited = Bench(bench.root, variant(tmp_path / "services", "ddosmitigator", smaller))
    bench.apply(data)
    try:
        assert ping(good.netns, server.ip, 1) == 1
        with Flow(good.netns, server.netns, server.ip) as passes, Flow(bad.netns, server.netns, server.ip, port=9010) as barred:
            result = edited.apply(data)
        assert result.plan.disruption == Disruption.NONE
        assert result.plan.total(MAP_WRITES) == 2
        assert passes.lost == 0
        assert barred.lost == barred.sent > 0
        assert ping(bad.netns, server.ip, 2, timeout=0.3) == 0
        assert edited.plan(data).plan.steps == ()
    finally:
        bench.clear()
