"""Which cubes are linked, as a function of a graph: no kernel, and objects that are only as large as they say."""
from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.compiler.object import Line, Object, Relocation, TableSpec
from reconciler.compiler.struct_layout import StructLayout
from reconciler.graph.chains import MOST_PORTS, digest, fuse
from reconciler.graph.parts import Built, ProgramSlot
from reconciler.graph.records import CubeRecord, NextHopRecord, PortRecord, ProgramRecord, State, TrampolineRecord
from reconciler.live.link_inputs import described
from reconciler.model import BuildKey
from reconciler.service.registry import Services

SERVICES = Services()
U32 = StructLayout("scalar", 4)


def compiled(*tables: str, size: int = 10, name: str = "s.c") -> Object:
    used = tuple(Relocation(2 * number, "map", table) for number, table in enumerate(tables))
    known = {table: TableSpec(table, 2, 4, 4, 1, 0, "private", U32, U32) for table in (*tables, "pcn_next", "pcn_drops")}
    return Object("", name, "TC", "ingress", bytes(8 * size), used, known, {}, 0, (Line(0, name, 1, name),), {}, "GPL", "bcc").sealed()


ONE = compiled("pcn_hops")


def graph(ways: dict[str, dict[int, tuple[str, int]]], *, objects: dict[str, Object] | None = None, ports: int = 2, **cubes: dict) -> State:
    """Standard cubes; `ways` of each: row to (cube, port). `cubes` has what differs about a cube."""
    records = []
    for name, rows in ways.items():
        records.append(replace(CubeRecord(name, "simpleforwarder", "t", "TC"), **cubes.get(name, {})))
        records += [PortRecord(name, f"p{index}", index, "-") for index in range(ports)]
        records += [TrampolineRecord(name, "", "ingress", index, f"p{index}", "TC") for index in range(ports)]
        records.append(ProgramRecord(name, "", "ingress", 0, (objects or {}).get(name, ONE).digest, b""))
        records += [NextHopRecord(name, "", row, "program", f"cubes/{cube}/in/{port}_p{port}") for row, (cube, port) in rows.items()]
    return {record.address: record for record in records}


def chains(state: State, *objects: Object) -> dict[str, str]:
    known = {made.digest: made for made in (ONE, *objects)}
    built = {BuildKey("simpleforwarder", "TC"): Built({ProgramSlot("", "ingress", 0, "TC"): ONE})}
    fuse(state, state.values(), SERVICES, built, known)
    stubs = [record for record in state.values() if isinstance(record, TrampolineRecord) and record.parts]
    assert all(stub.chain == digest(stub.parts) for stub in stubs)
    return {f"{stub.cube}.{stub.index}": " ".join(f"{part.cube}.{part.index}>{part.row}" for part in stub.parts) for stub in stubs}


ROW = {"a": {1: ("b", 0)}, "b": {0: ("a", 1), 1: ("c", 0)}, "c": {0: ("b", 1)}}


def test_a_row_is_one_chain_each_way():
    assert chains(graph(ROW)) == {"a.0": "a.0>1 b.0>1 c.0>-1", "c.1": "c.1>0 b.1>0 a.1>-1"}


def test_a_cube_alone_is_a_stub():
    assert chains(graph({"a": {}})) == {}


def test_a_cube_that_says_so_is_kept_apart():
    assert chains(graph({**ROW, "c": {0: ("b", 1), 1: ("d", 0)}, "d": {0: ("c", 1)}}, b={"fuse": False})) == {
        "c.0": "c.0>1 d.0>-1", "d.1": "d.1>0 c.1>-1"}


def test_two_ways_on_end_a_chain_and_each_begins_one():
    fork = {"a": {1: ("b", 0), 2: ("c", 0)}, "b": {0: ("a", 1), 1: ("d", 0)}, "c": {0: ("a", 2), 1: ("d", 1)}, "d": {0: ("b", 1), 1: ("c", 1)}}
    found = chains(graph(fork, ports=3))
    assert found["b.0"].startswith("b.0>1 d.0>1 c.1>0")
    assert found["c.0"].startswith("c.0>1 d.1>0 b.1>0")
    assert "a.0" not in found


def test_a_ring_that_nothing_leads_into_is_no_chain():
    ring = {"a": {0: ("b", 1), 1: ("b", 0)}, "b": {0: ("a", 1), 1: ("a", 0)}}
    assert chains(graph(ring)) == {}


def test_a_cube_with_many_ports_is_entered_by_its_entry():
    assert chains(graph(ROW, ports=MOST_PORTS)) != {}
    assert chains(graph(ROW, ports=MOST_PORTS + 1)) == {}


@pytest.mark.parametrize("tables", [("pcn_hops", "pcn_calls"), ("pcn_hops", "pcn_entry")])
def test_a_cube_that_goes_on_in_programs_of_its_own_is_not_linked(tables):
    other = compiled(*tables)
    assert chains(graph(ROW, objects={"b": other}), other) == {}


def test_a_cube_that_never_leaves_by_a_row_ends_its_chain():
    other = compiled()
    assert chains(graph(ROW, objects={"b": other}), other) == {"a.0": "a.0>1 b.0>-1", "c.1": "c.1>0 b.1>-1"}


@pytest.mark.parametrize("other", [compiled("pcn_hops", *(f"t{number}" for number in range(58))), compiled("pcn_hops", size=8190)])
def test_a_chain_ends_where_it_would_be_too_large_and_another_begins(other):
    found = chains(graph({**ROW, "c": {0: ("b", 1), 1: ("d", 0)}, "d": {0: ("c", 1)}}, objects={"b": other}), other)
    apart = {"b.1": "b.1>-1", "a.1": "a.1>-1"}  # what goes on where a chain ends is linked to what leads to it
    assert found == {"c.0": "c.0>1 d.0>-1", "d.1": "d.1>0 c.1>-1", **apart}


def test_what_is_left_of_a_row_that_is_too_long_for_one_program_is_linked_if_it_is_a_single_cube():
    large = compiled("pcn_hops", *(f"t{number}" for number in range(25)))
    row = {"a": {1: ("b", 0)}, "b": {0: ("a", 1), 1: ("c", 0)}, "c": {0: ("b", 1)}}
    found = chains(graph(row, objects=dict.fromkeys("abc", large)), large)
    assert found == {"a.0": "a.0>1 b.0>-1", "c.0": "c.0>-1", "c.1": "c.1>0 b.1>-1", "a.1": "a.1>-1"}


def test_a_chain_is_known_by_its_cubes_their_code_constants_and_rows():
    stub = graph(ROW)
    chains(stub)
    parts = stub["stub/cubes/a/in/0_p0"].parts
    others = [replace(parts[1], **change) for change in ({"cube": "x"}, {"object": "x"}, {"constants": b"x"}, {"row": 0}, {"index": 1})]
    assert len({digest(parts), *(digest([parts[0], other, parts[2]]) for other in others)}) == 6


def test_an_instruction_of_a_chain_is_known_by_its_cube_s_line():
    whole = described([compiled(name="one.c"), compiled(name="two.c")], [4, 40])
    assert whole.source == "one.c, two.c"
    assert [line and line.file for line in map(whole.line_of, (3, 4, 39, 40, 99))] == [None, "one.c", "one.c", "two.c", "two.c"]
