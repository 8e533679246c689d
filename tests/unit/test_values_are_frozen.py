"""What was read, and what is wanted, are values: whoever needs another one makes it from the one there is."""

from __future__ import annotations

import dataclasses
import inspect
from types import ModuleType

import pytest

from reconciler import model
from reconciler.graph import parts, records
from reconciler.graph.records import CubeRecord, Live, TopologyRecord
from reconciler.live.quarantine import sealed


@pytest.mark.parametrize("module", [records, parts, model])
def test_records_graphs_and_topologies_are_frozen(module: ModuleType) -> None:
    found = [each for _, each in inspect.getmembers(module, inspect.isclass) if dataclasses.is_dataclass(each)]
    assert found
    assert [each.__name__ for each in found if not each.__dataclass_params__.frozen] == []  # type: ignore[attr-defined]


def test_a_quarantined_topology_is_still_in_the_state_that_was_read() -> None:
    cube, topology = CubeRecord("c", "simplebridge", "t", "TC"), TopologyRecord("t", '{"metadata":{"name":"t"}}')
    live = Live({each.address: each for each in (cube, topology)}, documents=(topology,), ports={"c": {"p": 1}})
    rest = sealed(live, {"t": "for a test"})
    assert (rest.state, rest.documents, rest.ports, rest.sealed) == ({}, (), {}, {"t": "for a test"})
    assert (live.state.keys(), live.documents, live.ports, live.sealed) == ({"cube/c", "topology/t"}, (topology,), {"c": {"p": 1}}, {})
