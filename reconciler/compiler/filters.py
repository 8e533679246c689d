"""Packet filters in compiled programs: configured in tcpdump's syntax, eBPF in the kernel.

libpcap compiles a text to classic BPF, in a confined child (`libpcap`); the linker translates that, and replaces the marker
instruction in an object by its code. No text becomes C.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace

from reconciler.compiler.object import Object
from reconciler.compiler.stack import STACK, stack_of
from reconciler.link import classic, code


def fill(made: Object, filters: Mapping[str, bytes]) -> Object:
    """The object with these filters, classic BPF by name in C. Raises ValueError for one that is invalid or does not fit."""
    places = [each for each in made.relocations if each.kind in ("filter", "reach") and each.symbol in filters]
    if not places:
        return made
    depth = stack_of(made.insns)
    if depth + 8 + classic.STACK > STACK:
        raise ValueError(f"{made.source} leaves too little of the stack for a filter")
    new = {}
    for place in places:
        program = classic.unpack(filters[place.symbol])
        if place.kind == "reach":
            new[place.index] = code.set_register(0, classic.reach(program))
        else:
            new[place.index] = classic.translate(program, made.flavour, depth)
    moved = _moved(made.insns, {at: code.slots(text) for at, text in new.items()})
    relocations = tuple(replace(each, index=moved[each.index]) for each in made.relocations if each not in places)
    lines = tuple(replace(line, index=moved[line.index]) for line in made.lines)
    return replace(made, insns=_joined(made.insns, new, moved), relocations=relocations, lines=lines).sealed()


def _moved(insns: bytes, sizes: Mapping[int, int]) -> list[int]:
    """The new index of each slot and of the end, if the slots in `sizes` grow to so many slots."""
    moved, now = [], 0
    for at in range(len(insns) // 8 + 1):
        moved.append(now)
        now += sizes.get(at, 1)
    return moved


def _joined(insns: bytes, new: Mapping[int, bytes], moved: Sequence[int]) -> bytes:
    """The code with `new` in place of the markers, and with jump offsets adjusted."""
    body = bytearray(insns)
    for at in code.jumps(insns):
        over = moved[code.target(insns, at)] - moved[at] - 1
        if not -0x8000 <= over <= 0x7FFF:
            raise ValueError("a filter that is too long for its program's jumps")
        struct.pack_into("<h", body, 8 * at + 2, over)
    return b"".join(new.get(at) or bytes(body[8 * at : 8 * at + 8]) for at in range(len(body) // 8))
