"""Makes an Object of libbcc's output, or rejects it if it could never be loaded.

BCC accepts C that the verifier then rejects with an obscure message (a global variable is a load from a
scalar). Errors that are evident from the instructions are reported here, with the line.
"""
from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from reconciler.compiler.object import Line, Object, Relocation, TableSpec
from reconciler.compiler.prepare import FILTER_NUMBERS, Prepared
from reconciler.compiler.sources import FRAMEWORK, Unit, complaint, text_of
from reconciler.compiler.stack import STACK, depths
from reconciler.compiler.struct_layout import layout
from reconciler.errors import CompileError
from reconciler.link.code import set_register

ENTRY = "pcn_main"
MARKER = 0x70636E63  # "pcnc": upper half of the address that PCN_CONST pretends to load from
FILTER_HELPERS = {0x70000000: ("filter", -1), 0x60000000: ("reach", 0)}  # what pcn_filter calls: kind, result if unset

_LD_IMM64, _CALL, _PSEUDO_CALL, _PSEUDO_MAP_VALUE = 0x18, 0x85, 1, 2
_LISTED_LINE = re.compile(r"^;.* // Line\s*(\d+)$")
_LISTED_INSN = re.compile(r"^\s*(\d+):\t")


def assemble(unit: Unit, prepared: Prepared, outcome: Mapping[str, Any], said: str, compiler: str) -> Object:
    """The object. Raises CompileError for code that compiles, but is no loadable program."""
    if outcome["functions"] != [ENTRY]:
        extra = ", ".join(sorted(set(outcome["functions"]) - {ENTRY})) or "none"
        raise CompileError(f"{prepared.service.path}: error: only {ENTRY} of {FRAMEWORK} may be a function without "
                           f"`static`; found: {extra}")
    insns = bytearray.fromhex(outcome["insns"])
    lines = tuple(_lines(said, prepared))
    draft = Object("", prepared.service.name, unit.flavour, unit.direction, b"", (), {}, {}, 0, lines, {}, "", compiler)
    for index, message in _flaws(insns):
        _refuse(draft, prepared, index, message)
    relocations = [Relocation(slot, "map", name) for slot, name in outcome["maps"]]
    relocations += _constants(insns, prepared) + _filters(insns, prepared)
    return Object("", prepared.service.name, unit.flavour, unit.direction, bytes(insns),
                  tuple(sorted(relocations, key=lambda r: r.index)),
                  {table["name"]: _table(table, prepared) for table in sorted(outcome["tables"], key=lambda t: str(t["name"]))},
                  prepared.constants, 4 * len(prepared.constants), lines, prepared.log_formats, outcome["licence"] or "GPL",
                  compiler).sealed()


def _slots(insns: bytes | bytearray) -> Iterator[tuple[int, int, int, int, int]]:
    """(slot, opcode, source register, immediate, upper immediate) of each instruction."""
    at = 0
    while at < len(insns):
        code, registers, _, low = struct.unpack_from("<BBhI", insns, at)
        wide = code == _LD_IMM64
        yield at // 8, code, registers >> 4, low, struct.unpack_from("<I", insns, at + 12)[0] if wide else 0
        at += 16 if wide else 8


def _flaws(insns: bytearray) -> Iterator[tuple[int, str]]:
    for slot, code, source, low, high in _slots(insns):
        if code == _LD_IMM64 and source == 0 and low == 0 and high == 0:  # an address that BCC leaves unresolved
            yield slot, "global variables and constant arrays do not work with BCC: use a table, PCN_CONST, or a local"
        if code == _CALL and source == _PSEUDO_CALL:
            yield slot, "this calls a function that was not inlined: make it `static __always_inline`"
    yield from _too_deep(insns)


def _too_deep(insns: bytearray) -> Iterator[tuple[int, str]]:
    """Slots at which the stack is used beyond a program's limit."""
    for slot, depth in depths(insns):
        if depth > STACK:
            yield slot, f"this uses more than {STACK} bytes of stack: keep less in local variables, or use a table"


def _refuse(draft: Object, prepared: Prepared, index: int, message: str) -> None:
    line = draft.line_of(index)
    if line is None:
        raise CompileError(f"{prepared.service.path}: error: {message}")
    source = next(source for source, number in prepared.lines if source.name == line.file and number == line.line)
    raise complaint(source, line.line, message)


def _constants(insns: bytearray, prepared: Prepared) -> list[Relocation]:
    """Turn each marked address into a reference to the constants' map."""
    names = {offset: name for name, offset in prepared.constants.items()}
    found = []
    for slot, code, source, low, high in list(_slots(insns)):
        if code == _LD_IMM64 and source == 0 and high == MARKER:
            if low not in names:
                raise CompileError(f"{prepared.service.path}: error: a constant is read past PCN_CONST, at offset {low}")
            found.append(Relocation(slot, "const", names[low], low))
            insns[8 * slot + 1] |= _PSEUDO_MAP_VALUE << 4
            struct.pack_into("<I", insns, 8 * slot + 4, 0)
            struct.pack_into("<I", insns, 8 * slot + 12, low)
    return found


def _filters(insns: bytearray, prepared: Prepared) -> list[Relocation]:
    """Relocations of filters; a placeholder that selects every packet replaces the marker."""
    found = []
    for slot, code, source, low, _ in list(_slots(insns)):
        name = prepared.filters.get(low & FILTER_NUMBERS)
        if code == _CALL and source == 0 and name is not None and low & ~FILTER_NUMBERS in FILTER_HELPERS:
            kind, answer = FILTER_HELPERS[low & ~FILTER_NUMBERS]
            found.append(Relocation(slot, kind, name))
            insns[8 * slot : 8 * slot + 8] = set_register(0, answer)
    return found


def _table(raw: Mapping[str, Any], prepared: Prepared) -> TableSpec:
    name = raw["name"]
    scope = prepared.scopes.get(name) or ("framework" if name.startswith("pcn_") else "private")
    extern = name in prepared.externs
    return TableSpec(name, 0 if extern else raw["type"], raw["key_size"], raw["value_size"], 0 if extern else raw["max_entries"],
                     0 if extern else raw["flags"], scope, layout(raw["key"], raw["key_size"]),
                     layout(raw["value"], raw["value_size"]), extern, prepared.inner.get(name, ""))


def _lines(listing: str, prepared: Prepared) -> Iterator[Line]:
    """The C line at which each run of instructions begins, from libbcc's annotated disassembly."""
    number = last = 0
    for text in ("\n" + listing).partition("\nDisassembly of function ")[2].splitlines():
        if match := _LISTED_LINE.match(text):
            number = int(match.group(1))
        elif (match := _LISTED_INSN.match(text)) and number != last and 0 < number <= len(prepared.lines):
            source, line = prepared.lines[number - 1]
            yield Line(int(match.group(1)), source.name, line, text_of(source, line).strip())
            last = number
