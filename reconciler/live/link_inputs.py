"""Compiled objects as inputs of the linker: with descriptors filled in, and their exits."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from reconciler import pins
from reconciler.link.chain import NO_ROW, Exits, Member

_SPELLED = 4  # rows; of a cube with more ways out, most lead to netdevs
_INGRESS_ROWS = tuple(range(_SPELLED))
_EGRESS_ROWS = (0, *range(pins.AFTER_EGRESS, pins.AFTER_EGRESS + _SPELLED))  # a transparent cube's, and a standard one's


def member(
    compiled: Any, descriptors: Mapping[str, int], *, base: int = 0, port: int | None = None, row: int = NO_ROW
) -> Member:
    """`descriptors` by table; '' is the map of constants, in which the program's begin at byte `base`."""
    exits = None
    if "pcn_hops" in descriptors:
        rows = _EGRESS_ROWS if compiled.direction == "egress" else _INGRESS_ROWS
        exits = Exits(descriptors["pcn_next"], descriptors["pcn_drops"], rows)
    return Member(_relocated(compiled, descriptors, base), exits, port, row)


def _relocated(compiled: Any, descriptors: Mapping[str, int], base: int) -> bytes:
    code = bytearray(compiled.insns)
    for relocation in compiled.relocations:
        at = relocation.index * 8 + 4
        if relocation.kind == "const":
            struct.pack_into("<i", code, at, descriptors[""])
            struct.pack_into("<I", code, at + 8, base + relocation.offset)
        elif relocation.kind == "map":  # a marker that no filter stands in place of stays
            struct.pack_into("<i", code, at, descriptors[relocation.symbol])
    return bytes(code)


def described(objects: Sequence[Any], starts: Sequence[int]) -> Any:
    """Linked objects as one object: the C line that each instruction of the program originates from."""
    lines = [
        replace(line, index=start + line.index)
        for compiled, start in zip(objects, starts, strict=True)
        for line in compiled.lines
    ]
    return replace(objects[0], source=", ".join(compiled.source for compiled in objects), lines=tuple(lines))
