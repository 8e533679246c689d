"""A program in the kernel that nothing of the reconciler has touched: its tables are made from what the compiled object says.

    with running("#include \\"lib/csum.h\\" …", "XDP") as run:
        verdict, frame = run(bytes(packet))
"""
from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from reconciler.compiler import Object, TableSpec, Unit, compile_units
from reconciler.kernel import bpf, maps, programs
from tests.lib.services import rx

FLAVOURS = ["TC", "XDP"]
DROPPED = {"TC": 2, "XDP": 1}
Run = Callable[[bytes], tuple[int, bytes]]


def spec(table: TableSpec) -> maps.MapSpec:
    return maps.MapSpec(table.type, table.key_size, table.value_size, table.max_entries, table.flags)


@contextlib.contextmanager
def loaded(obj: Object, constants: Mapping[str, int]) -> Iterator[tuple[int, dict[str, int]]]:
    """The program's descriptor and those of its tables; all made from the object, all gone afterwards."""
    fds = {name: maps.create(spec(table), name) for name, table in obj.tables.items()}
    if obj.const_size:
        fds[""] = maps.create(maps.MapSpec(maps.ARRAY, 4, obj.const_size, 1, maps.BPF_F_RDONLY_PROG), "constants")
        words = bytearray(obj.const_size)
        for name, offset in obj.constants.items():
            struct.pack_into("<I", words, offset, constants[name])
        maps.update(fds[""], bytes(4), bytes(words))
        maps.freeze(fds[""])
    code = bytearray(obj.insns)
    for relocation in obj.relocations:
        struct.pack_into("<i", code, 8 * relocation.index + 4, fds[relocation.symbol if relocation.kind == "map" else ""])
    try:
        fds["program"] = programs.load(bytes(code), bpf.XDP if obj.flavour == "XDP" else bpf.SCHED_CLS, "compiled")
        yield fds["program"], fds
    finally:
        for fd in fds.values():
            os.close(fd)


@contextlib.contextmanager
def running(before: str, body: str, flavour: str) -> Iterator[Run]:
    """A µCube of `before` and a handle_rx of this body, which can be run on frames: it gives a verdict, and the frame as it is then."""
    unit = Unit(Path("library_test.c"), flavour, "ingress", text=rx(body, before))
    (obj,) = compile_units([unit])
    with loaded(obj, dict.fromkeys(obj.constants, 0)) as (program, _):
        yield lambda frame: programs.test_run(program, frame)[:2]
