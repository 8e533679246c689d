"""What the parts of a hop cost.

Programs of a few lines, each with one thing more than an empty one, run alone (BPF_PROG_TEST_RUN): what a framework can be built
from, and so the profile of what limits a chain with hops. A tail call whose index is a constant is a direct jump that the kernel
patches; with a computed index it is an indirect one. Mitigations of speculation make calls and returns dear; see the machine.
The last table runs the machine code of tail calls in user space, once with and once without the kernel's count of them.
"""

from __future__ import annotations

import contextlib
import struct

from benchmarks import programs, tailcalls
from benchmarks.compare import Effort, Table, Turn, compare
from benchmarks.testrun import alone

EMPTY = "an empty program"
CALL = "a tail call, constant index"
IN_A_ROW = (4, 8, 16, 30)
_CONTEXT, _DROP = {"XDP": "xdp_md", "TC": "__sk_buff"}, {"XDP": 1, "TC": 2}
_LOOKUP = "u32 key = {key}; u64 *found = t.lookup(&key); if (!found) return 0; *(volatile u64 *)found;"
BODIES: dict[str, tuple[str, str]] = {  # its tables, its statements
    EMPTY: ("", ""),
    "a redirect": ("", "return bpf_redirect(1, 0);"),
    "a look-up in an array, constant key": ("BPF_ARRAY(t, u64, 128);", _LOOKUP.format(key="0")),
    "a look-up in an array, key from the packet": ("BPF_ARRAY(t, u64, 128);", _LOOKUP.format(key="SIZE & 1")),
    "a look-up in a per-CPU array": ("BPF_PERCPU_ARRAY(t, u64, 128);", _LOOKUP.format(key="0")),
    "a look-up in a hash": ("BPF_HASH(t, u32, u64, 1024);", _LOOKUP.format(key="0")),
    "a look-up in an LRU hash": ('BPF_TABLE("lru_hash", u32, u64, t, 1024);', _LOOKUP.format(key="0")),
    "the time, coarse": ("", "volatile u64 now = bpf_ktime_get_coarse_ns(); (void)now;"),
    CALL: ("BPF_PROG_ARRAY(next, 2);", "next.call(ctx, 0);"),
    "a tail call, computed index": ("BPF_PROG_ARRAY(next, 2);", "next.call(ctx, SIZE >> 20);"),
}  # fmt: skip


def text(kind: str, tables: str, body: str) -> str:
    size = "ctx->len" if kind == "TC" else "(u32)(ctx->data_end - ctx->data)"
    return f"#define SIZE ({size})\n{tables}\nint run(struct {_CONTEXT[kind]} *ctx) {{ {body} return {_DROP[kind]}; }}"


def run(effort: Effort) -> list[Table]:
    return [*(one_hook(kind, effort) for kind in ("XDP", "TC")), *([as_machine_code(effort)] if tailcalls.IS_KNOWN else [])]


def as_machine_code(effort: Effort) -> Table:
    with contextlib.ExitStack() as stack:
        turns = {
            f"{count} in a row{'' if counted else ', not counted'}": stack.enter_context(tailcalls.row(count, counted=counted))
            for counted in (True, False)
            for count in (1, *IN_A_ROW)
        }
        note = "The count is read, compared and written in memory by each, as soon as the one before has written it."
        return compare("Tail calls as machine code", turns, effort, against="", unit="ns", note=note)


def one_hook(kind: str, effort: Effort) -> Table:
    turns: dict[str, Turn] = {}
    with contextlib.ExitStack() as stack:
        empty = stack.enter_context(programs.written(text(kind, *BODIES[EMPTY]), kind))
        for name, (tables, body) in BODIES.items():
            table = "next" if "tail call" in name else "t"
            row = {table: struct.pack("<I", empty) if table == "next" else bytes(8)} if tables else {}
            fd = stack.enter_context(programs.written(text(kind, tables, body), kind, row))
            turns[name] = alone(fd, bytes(60), effort.amount(200_000), None if name == EMPTY else empty)
        for count in IN_A_ROW:
            fd = in_a_row(stack, kind, count, empty)
            turns[f"{count} tail calls in a row"] = alone(fd, bytes(60), effort.amount(200_000), empty)
        note = (
            "The first line is what the kernel takes to run any program; it is taken off the others. The tail calls lead to it."
        )
        return compare(kind, turns, effort, against="", unit="ns", note=note)


def in_a_row(stack: contextlib.ExitStack, kind: str, count: int, last: int) -> int:
    """A program that jumps to one that jumps ... to `last`; each is one of its own, with an array of its own."""
    first = last
    for _ in range(count):
        first = stack.enter_context(programs.jump(kind, first))
    return first
