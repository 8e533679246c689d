"""A compiled program as a value: its JSON, its digest, its lines; and how one is made of what libbcc gives."""
from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.compiler import Object, Relocation, TableSpec, Unit
from reconciler.compiler.assemble import assemble
from reconciler.compiler.object import Line
from reconciler.compiler.prepare import prepare
from reconciler.compiler.sources import Source, Sources
from reconciler.compiler.struct_layout import Field, StructLayout
from reconciler.errors import CompileError

U32 = StructLayout("scalar", 4, "unsigned int")
PAIR = StructLayout("struct", 2, "m", (Field("x", 0, 2),))
VALUE = StructLayout("struct", 8, "v", (Field("port", 0, 4), Field("mac", 4, 4, 2, False, PAIR)))
UNIT = Unit(Path("s.c"), "TC", "ingress")
EXIT = struct.pack("<BBhi", 0x95, 0, 0, 0)
LISTING = """\
/virtual/main.c:1:1: warning: something
    9:\tnot an instruction
Disassembly of function pcn_main
; whatever // Line   2
   0:\t18 01 00 00 00 00 00 00
   2:\t61 11 00 00 00 00 00 00
; // Line   3
   3:\t95 00 00 00 00 00 00 00
"""


def example() -> Object:
    return Object("", "s.c", "TC", "ingress", EXIT * 9, (Relocation(0, "map", "t"), Relocation(4, "const", "LEVEL", 4)),
                  {"t": TableSpec("t", 1, 4, 8, 16, 1, "shared:ns", U32, VALUE, inner="")}, {"A": 0, "LEVEL": 4}, 8,
                  (Line(0, "pcn.h", 7, "a"), Line(3, "s.c", 2, "b")), {123: "hello %d"}, "GPL", "bcc-0.26.0").sealed()


def made(insns: bytes, *, text: str = "line 1\nline 2\nline 3\n", functions: tuple[str, ...] = ("pcn_main",), tables=(), maps=(),
         listing: str = LISTING) -> Object:
    prepared = prepare(Sources(Source("pcn.h", "/bpf/pcn.h", "framework"), Source("s.c", "/srv/s.c", text), {}), {})
    outcome = {"functions": list(functions), "tables": list(tables), "insns": insns.hex(), "maps": list(maps), "licence": "GPL"}
    return assemble(UNIT, prepared, outcome, listing, "bcc-0.26.0")


def load_immediate(value: int, source: int = 0) -> bytes:
    return struct.pack("<BBhIBBhI", 0x18, 1 | source << 4, 0, value & 0xFFFFFFFF, 0, 0, 0, value >> 32)


def test_an_object_survives_json():
    assert Object.from_json(json.loads(json.dumps(example().to_json()))) == example()


def table(**changes: object) -> dict[str, TableSpec]:
    return {"t": replace(example().tables["t"], **changes)}


RENAMED = StructLayout("struct", 8, "other", (Field("gate", 0, 4), Field("mac", 4, 4, 2, False, PAIR)))
HALVES = StructLayout("struct", 8, "v", (Field("port", 0, 4, 2), Field("mac", 4, 4, 2, False, PAIR)))


@pytest.mark.parametrize("change", [
    {"compiler": "bcc-9"}, {"lines": ()}, {"source": "other.c"}, {"log_formats": {1: "x"}}, {"constants": {"B": 0, "LEVEL": 4}},
    {"tables": table(value=RENAMED)}, {"tables": table() | {"more": replace(example().tables["t"], name="more")}},
    {"relocations": (Relocation(0, "map", "t"), Relocation(4, "const", "OTHER", 4))},
], ids=lambda change: next(iter(change)))
def test_two_objects_that_come_to_the_same_in_the_kernel_have_one_digest(change):
    assert replace(example(), **change).sealed().digest == example().digest


@pytest.mark.parametrize("change", [
    {"insns": EXIT}, {"relocations": ()}, {"tables": {}}, {"flavour": "XDP"}, {"licence": "MIT"}, {"tables": table(max_entries=17)},
    {"tables": table(value=HALVES)}, {"relocations": (Relocation(0, "map", "t"), Relocation(4, "const", "LEVEL", 0))},
], ids=lambda change: next(iter(change)))
def test_objects_that_differ_in_the_kernel_have_other_digests(change):
    assert replace(example(), **change).sealed().digest != example().digest


def test_a_seal_covers_all_content_but_for_lines_and_compiler():
    found = example()
    assert replace(found, compiler="bcc-9", lines=()).sealed().seal == found.seal
    assert len({replace(found, **change).sealed().seal for change in (
        {}, {"source": "other.c"}, {"log_formats": {1: "x"}}, {"constants": {}}, {"tables": table(value=RENAMED)})}) == 5


@pytest.mark.parametrize("spoil", [
    lambda data: data.update(format=0), lambda data: data.pop("tables"), lambda data: data.update(insns="95"),
    lambda data: data.update(insns="xx"), lambda data: data["tables"]["t"].update(max_entries=17),
    lambda data: data.update(lines=[[1]]),
])
def test_json_that_is_not_what_it_was_is_refused(spoil):
    data = example().to_json()
    spoil(data)
    with pytest.raises(ValueError, match="object"):
        Object.from_json(data)


def test_json_of_something_else_is_refused():
    with pytest.raises(ValueError, match="format"):
        Object.from_json([1, 2])


def test_a_line_holds_until_the_next_one():
    lines = [example().line_of(i) for i in (0, 2, 3, 100)]
    assert [line and line.line for line in lines] == [7, 7, 2, 2]
    assert replace(example(), lines=(Line(2, "s.c", 1, ""),)).line_of(1) is None


def test_a_table_says_its_type_in_words():
    assert example().tables["t"].type_name == "hash"


def test_lines_are_taken_from_the_disassembly_only():
    assert made(EXIT).lines == (Line(0, "s.c", 1, "line 1"), Line(3, "s.c", 2, "line 2"))


def test_a_marked_address_becomes_a_reference_to_the_constants():
    text = "PCN_CONST(B);\nPCN_CONST(A);\n"
    found = made(load_immediate(5) + load_immediate(0x70636E6300000004) + EXIT, text=text)
    assert found.relocations == (Relocation(2, "const", "B", 4),)
    assert found.insns == load_immediate(5) + struct.pack("<BBhIBBhI", 0x18, 0x21, 0, 0, 0, 0, 0, 4) + EXIT
    assert (found.constants, found.const_size) == ({"A": 0, "B": 4}, 8)


def test_a_marked_address_that_names_no_constant_is_refused():
    with pytest.raises(CompileError, match="past PCN_CONST"):
        made(load_immediate(0x70636E6300000004) + EXIT)


def test_tables_get_their_scope_and_an_extern_one_has_no_type():
    text = 'BPF_TABLE_SHARED("extern", u32, u64, far, 0, ns);\nBPF_TABLE("hash", u32, u64, near, 9);\n'
    raw = {"fd": 3, "type": 1, "flags": 1, "max_entries": 9, "key_size": 4, "value_size": 8, "key": '"unsigned int"',
           "value": '"unsigned long long"'}
    tables = made(EXIT, text=text, tables=[{"name": name, **raw} for name in ("near", "far", "pcn_next")]).tables
    assert list(tables) == ["far", "near", "pcn_next"]
    assert [(t.scope, t.extern, t.type, t.max_entries) for t in tables.values()] == [
        ("shared:ns", True, 0, 0), ("private", False, 1, 9), ("framework", False, 1, 9)]
    assert tables["near"].key == U32


@pytest.mark.parametrize(("insns", "reason"), [
    (load_immediate(0), "global variables"),
    (struct.pack("<BBhi", 0x85, 1 << 4, 0, -1), "not inlined"),
])
def test_what_the_verifier_would_refuse_with_a_riddle_is_said_with_its_line(insns, reason):
    with pytest.raises(CompileError, match=reason) as caught:
        made(insns + EXIT)
    assert str(caught.value).startswith("/srv/s.c:1: error: ")
    assert str(caught.value).endswith("     1 | line 1")


def test_a_second_function_that_is_not_static_is_refused_by_name():
    with pytest.raises(CompileError, match="found: helper"):
        made(b"", functions=("helper", "pcn_main"))


@pytest.mark.parametrize("insns", [
    struct.pack("<BBhi", 0x7B, 10, -496, 0), struct.pack("<BBhi", 0x62, 10, -492, 0), struct.pack("<BBhi", 0x79, 0xA1, -504, 0),
    struct.pack("<BBhiBBhi", 0xBF, 0xA2, 0, 0, 0x07, 2, 0, -500)])
def test_a_program_that_needs_the_linker_s_part_of_the_stack_is_refused(insns):
    with pytest.raises(CompileError, match="488 bytes of stack"):
        made(insns + EXIT)


@pytest.mark.parametrize("insns", [
    struct.pack("<BBhi", 0x7B, 10, -488, 0), struct.pack("<BBhi", 0x61, 0xA1, -504, 0), struct.pack("<BBhi", 0x07, 2, 0, -500),
    struct.pack("<BBhiBBhi", 0xBF, 0xA2, 0, 0, 0x07, 2, 0, -488)])
def test_a_program_may_use_its_own_part_of_the_stack_and_read_what_the_linker_left(insns):
    made(insns + EXIT)
