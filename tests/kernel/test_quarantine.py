"""Topologies of a service that the caller does not have: left alone, in nobody's way, and removable by name."""
from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from reconciler.document.load import parse
from reconciler.engine.apply import Options, apply, drift, plan_for
from reconciler.kernel import bpf, maps
from reconciler.kernel.document_values import pack_document
from reconciler.present.show import show
from reconciler.service.registry import HERE, Services
from tests.lib.commands import pcn

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
    shutil.copy(HERE / "bpf/simpleforwarder/simpleforwarder.c", tmp_path)
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


def _garble(root: str, name: str, value: bytes) -> None:
    """Put something else in the place of an applied document, as another version of pcn might have written it."""
    pin = Path(root) / "topologies" / name
    fd = maps.create(maps.MapSpec(maps.ARRAY, 4, len(value), 1), "topology")
    try:
        maps.update(fd, bytes(4), value)
        pin.unlink()
        bpf.pin(fd, str(pin))
    finally:
        os.close(fd)


def _all_below(root: str) -> list[str]:
    return sorted(f"{path}/{name}" for path, directories, files in os.walk(root) for name in (*directories, *files))


GARBLED = [b"\xff" * 64, pack_document("{"), pack_document("[]"), pack_document('{"spec": {"cubes": [7]}}'), pack_document('"x"')]


@pytest.mark.parametrize("value", GARBLED, ids=["noise", "half", "a list", "odd cubes", "text"])
def test_a_topology_whose_document_cannot_be_read_is_said_to_be_there_and_nothing_of_it_is_touched(own_root: str, value: bytes):
    apply(parse(OURS, "ours.yaml"), Options())
    other = OURS.replace("ours", "other")
    try:
        _garble(own_root, "ours", value)
        before = _all_below(own_root)
        for arguments in (["show"], ["show", "ours"], ["show", "-o", "json"], ["drift"]):
            result = pcn(*arguments, code=1)
            assert "topology ours is left as it is, for it cannot be read here" in result.stderr
            assert "nothing is applied" not in result.stderr
        pcn("gc", code=0)
        assert _all_below(own_root) == before
        apply(parse(other, "other.yaml"), Options())
        apply(parse(other, "other.yaml"), Options(), delete=True)
        assert _all_below(own_root) == before
        result = apply(parse(OURS, "ours.yaml"), Options())
        assert {step.operation.kind for step in result.plan.steps} == {"set_document"}, "its own file makes it whole again"
        assert not plan_for(parse(OURS, "ours.yaml")).plan.steps
        _garble(own_root, "ours", value)
        pcn("delete", "ours", code=0)
    finally:
        apply([], Options(drop=frozenset({"ours", "other"})), delete=True)
    assert not Path(own_root).exists()
