"""Topologies of a service that the caller does not have: left alone, in nobody's way, and removable by name."""
from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from reconciler.apply import Options, apply, drift, plan_for
from reconciler.document.load import parse
from reconciler.service import HERE, Services
from reconciler.show import show

FOREIGN = """
apiVersion: polycube.network/v1
kind: Topology
metadata: {name: foreign}
spec:
  cubes: [{name: fsealed, service-name: elsewhere, ports: [{name: p1}], actions: [{inport: p1, action: DROP}]}]
"""
OURS = """
apiVersion: polycube.network/v1
kind: Topology
metadata: {name: ours}
spec:
  cubes: [{name: fours, service-name: helloworld, ports: [{name: p1}]}]
"""


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A directory with a service of another name that is otherwise a simpleforwarder."""
    schema = json.loads((HERE / "schemas/json/simpleforwarder.schema.json").read_text().replace('"simpleforwarder"', '"elsewhere"'))
    (tmp_path / "elsewhere.schema.json").write_text(json.dumps(schema))
    shutil.copy(HERE / "bpf/simpleforwarder.c", tmp_path)
    return tmp_path


def test_a_topology_of_an_unknown_service_is_left_alone_and_goes_by_name(elsewhere: Path, own_root: str) -> None:
    with_it, without_it = Options(services=Services([elsewhere])), Options()
    apply(parse(FOREIGN, "foreign.yaml"), with_it)
    cube = Path(own_root) / "cubes/fsealed"
    try:
        assert apply(parse(OURS, "ours.yaml"), without_it).plan.steps
        assert not plan_for(parse(OURS, "ours.yaml"), without_it).plan.steps
        assert drift(without_it) == []
        assert [document["metadata"]["name"] for document in show(without_it)] == ["ours"]
        apply(parse(OURS, "ours.yaml"), without_it, delete=True)
        assert cube.is_dir()
        left = plan_for(parse(FOREIGN, "foreign.yaml"), with_it).plan.steps
        assert [step.address for step in left if step.rank.phase != "retire"] == [], "it is as it was"
    finally:
        apply([], Options(drop=frozenset({"foreign"})), delete=True)
    assert not cube.exists()
