"""An edit of a topology under traffic: what the plan was, what was lost, and what is wrong afterwards."""
from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field

from reconciler.engine.apply import ApplyResult
from reconciler.plan.steps import LINK_CHANGES, MAP_WRITES, PROGRAM_LOADS, Disruption
from tests.faults.bench import Bench
from tests.faults.flow import Flow
from tests.faults.graphs import Data, hosts, unreachable

Edit = Callable[[Data], object]


@dataclass
class EditUnderTraffic:
    """What an edit came to. `lost` are the datagrams of a steady flow between the first two hosts that did not arrive."""

    result: ApplyResult
    lost: int
    problems: list[str] = field(default_factory=list)

    @property
    def counts(self) -> tuple[int, int, int]:
        loads, writes, links = (self.result.plan.total(what) for what in (PROGRAM_LOADS, MAP_WRITES, LINK_CHANGES))
        return loads, writes, links

    @property
    def disruption(self) -> Disruption:
        return self.result.plan.disruption


@contextmanager
def edit_under_traffic(bench: Bench, old: Data, edit: Edit, *, flow: bool = True, patience: float = 2.0) -> Iterator[EditUnderTraffic]:
    """`old` is applied, then its edit while datagrams flow. Afterwards nothing is left to be done, and hosts talk."""
    new = deepcopy(old)
    edit(new)
    bench.apply(old)
    try:
        assert unreachable(old) == []
        a, b = hosts(old)[:2]
        with Flow(a.netns, b.netns, b.ip) as traffic:
            time.sleep(0.03)
            result = bench.apply(new)
            time.sleep(0.03)
        found = EditUnderTraffic(result, traffic.lost if flow else 0)
        found.problems += [f"{step.address} is still to be done" for step in bench.plan(new).plan.steps]
        found.problems += unreachable(new, timeout=patience)
        yield found
    finally:
        bench.clear()
        assert list(bench.paths()) == []
