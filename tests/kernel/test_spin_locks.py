"""Tables whose values have a spin lock: made with their types, so that the verifier lets programs lock a row, and read as ever."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.compiler.struct_layout import Field, StructLayout
from reconciler.engine.apply import plan_for
from reconciler.errors import CompileError
from reconciler.graph.btf import describe
from reconciler.kernel import maps
from reconciler.kernel.bpffs import Bpffs
from tests.lib.lab import HOOKS, Counts, Lab, counts
from tests.lib.services import Tree, rx
from tests.upgrade.traffic import Traffic, udp

SCENARIO = """
hosts: {h1: 10.0.0.1/24, h2: 10.0.0.2/24}
cubes:
  - name: c1
    service-name: locked
    ports: [{name: p1, peer: v1}, {name: p2, peer: v2}]
    cell: [{port: p1, weight: 3}, {port: p2, weight: 5}]
"""
# Both sums are of the same packets. Whoever could come between them would leave them unequal for good, since each is made of both.
BODY = """
  u32 key = md->in_port;
  struct cell *cell = cells.lookup(&key);
  if (!cell)
    return RX_DROP;
  bpf_spin_lock(&cell->lock);
  u64 next = cell->one + cell->weight;
  cell->one = next;
  cell->two += cell->weight;
  bpf_spin_unlock(&cell->lock);
  return pcn_pkt_redirect(ctx, md, md->in_port ^ 1);"""
CELL = """
struct cell {
  struct bpf_spin_lock lock;
  u32 weight;
  u64 one;
  u64 two;
  u8 more[3];
};
BPF_TABLE("KIND", u32, struct cell, cells, 64);
"""
LEAVES: dict[str, Any] = {"cell": {
    "type": "array", "x-yang-key": ["port"], "x-pcn-table": "cells",
    "items": {"type": "object", "additionalProperties": False, "required": ["port"], "properties": {
        "port": {"type": "string", "x-pcn-ref": "port", "x-pcn-key": "", "x-pcn-encoding": "port"},
        "weight": {"type": "integer", "minimum": 1, "maximum": 9, "x-pcn-value": "weight", "x-pcn-encoding": "uint"}}},
}}  # fmt: skip
PER_CELL = struct.Struct("<IIQQ3s5x")
U32 = StructLayout("scalar", 4, "unsigned int")
LOCK = StructLayout("struct", 4, "bpf_spin_lock", (Field("val", 0, 4),))


@pytest.fixture(params=HOOKS)
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    with Lab(SCENARIO, hook=request.param) as found:
        becomes(found, tmp_path, "hash")
        yield found


def becomes(lab: Lab, directory: Path, kind: str, cell: str = CELL, body: str = BODY, half: str = "") -> None:
    tree = Tree(directory / "services")
    tree.add("locked", [rx(body, cell.replace("KIND", kind))], leaves=LEAVES, implementation=half)
    lab.options.services = tree.load()


def sums(lab: Lab) -> dict[int, tuple[int, int, int]]:
    """By port: weight, and the two sums."""
    rows = {struct.unpack("<I", key)[0]: PER_CELL.unpack(value) for key, value in lab.table("c1", "cells").items()}
    return {port: values[1:4] for port, values in rows.items() if values[1]}


@pytest.mark.parametrize("kind", ["hash", "array"])
def test_rows_are_locked_by_programs_and_configured_counted_and_read_as_any(lab: Lab, tmp_path: Path, kind: str) -> None:
    becomes(lab, tmp_path, kind)
    lab.apply()
    flows = Traffic([udp(lab.space("h1"), lab.space("h2"), "10.0.0.2"), udp(lab.space("h2"), lab.space("h1"), "10.0.0.1")])
    try:
        flows.start()
        lab.ok("h1", "10.0.0.2", 20)
        flows.stop()
        assert flows.losses() == []
    finally:
        flows.close()
    found = sums(lab)
    assert all(one == two and one >= 20 * weight for weight, one, two in found.values())
    assert {port: weight for port, (weight, _, _) in found.items()} == {0: 3, 1: 5}
    assert lab.live_cube("c1")["cell"] == [{"port": "p1", "weight": 3}, {"port": "p2", "weight": 5}]
    assert not lab.drift()
    assert lab.plan().plan.steps == ()
    lab.cube("c1")["cell"][0]["weight"] = 7
    assert counts(lab.apply()) == Counts(map_writes=1)
    after = sums(lab)
    assert after[0][0] == 7
    assert after[0][1] >= found[0][1] > 0  # what was counted stays


def test_the_kernel_knows_the_types_of_such_a_table_and_of_no_other(lab: Lab) -> None:
    lab.apply()
    with Bpffs(lab.root).opened("cubes/c1/tables/cells") as fd:
        assert types_of(fd) == (1, 2)
    with Bpffs(lab.root).opened("cubes/c1/hops") as fd:
        assert types_of(fd) == (0, 0)


def types_of(fd: int) -> tuple[int, int]:
    """btf_key_type_id and btf_value_type_id of `struct bpf_map_info`."""
    from reconciler.kernel import bpf

    key, value = struct.unpack_from("<II", bpf.object_info(fd, 80), 68)
    return key, value


def test_newer_code_adopts_such_a_table_and_one_of_another_size_keeps_its_rows(lab: Lab, tmp_path: Path) -> None:
    lab.apply()
    lab.ok("h1", "10.0.0.2")
    before = sums(lab)
    with Bpffs(lab.root).opened("cubes/c1/tables/cells") as fd:
        identity = maps.info(fd).identity
    becomes(lab, tmp_path, "hash", body=BODY + "\n  /* newer */", cell=CELL.replace("u8 more[3]", "u8 many[3]"))
    assert lab.apply().plan.steps == ()
    with Bpffs(lab.root).opened("cubes/c1/tables/cells") as fd:
        assert maps.info(fd).identity == identity
    becomes(lab, tmp_path, "hash", cell=CELL.replace("cells, 64", "cells, 32"))
    result = plan_for([lab.document()], lab.options)
    assert str(result.plan.disruption) == "none"
    lab.apply()
    assert all(sums(lab)[port][1] >= before[port][1] > 0 for port in before)
    assert lab.ok("h1", "10.0.0.2")


@pytest.mark.parametrize("lab", ["TC"], indirect=True)
@pytest.mark.parametrize("kind", ["lru_hash", "percpu_array"])
def test_a_kind_of_table_that_cannot_have_a_lock_is_refused_by_name(lab: Lab, tmp_path: Path, kind: str) -> None:
    becomes(lab, tmp_path, kind)
    with pytest.raises(CompileError, match="cells"):
        lab.plan()


@pytest.mark.parametrize("value", [
    (Field("lock", 0, 4, nested=LOCK), Field("w", 4, 4), Field("a", 8, 8)),
    (Field("lock", 0, 4, nested=LOCK), Field("s", 4, 2, signed=True), Field("mac", 6, 6, 6), Field("w", 12, 4)),
    (Field("a", 0, 8), Field("x", 8, 4), Field("y", 8, 4), Field("lock", 12, 4, nested=LOCK)),  # an anonymous union
    (Field("lock", 0, 4, nested=LOCK), Field("p", 4, 8, 2, nested=StructLayout("struct", 4, "pair", (Field("l", 0, 2), Field("r", 2, 2)))),
     Field("b", 12, 4, nested=StructLayout("bytes", 4))),
])  # fmt: skip
@pytest.mark.parametrize("key", [U32, StructLayout("struct", 12, "k", (Field("ip", 0, 4), Field("rest", 4, 8, 2))), StructLayout("bytes", 7)])
def test_the_kernel_takes_the_types_of_any_key_and_value(key: StructLayout, value: tuple[Field, ...]) -> None:
    import os

    whole = StructLayout("struct", 16, "cell", value)
    os.close(maps.create(maps.MapSpec(maps.HASH, key.size, 16, 8), "cells", describe(key, whole)))
