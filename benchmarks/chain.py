"""Chains of cubes against the same work hand-written as one program.

1 to 16 `simpleforwarder` between two hosts. The hand-written program does in one function what all of them do: it looks up each
one's action in a table of its own, checks it, and redirects at the end. *Fused* is what pcn does with such a chain by itself;
with *hops* (`fuse: false`) each cube is a program of its own, and a packet gets from one to the next by tail calls.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator

from benchmarks import programs
from benchmarks.bed import Bed
from benchmarks.compare import Effort, Goal, Table, Turn, compare
from benchmarks.testrun import alone, stub
from reconciler.kernel.bpffs import Bpffs

LENGTHS = (1, 2, 4, 8, 16)
HAND = "hand-written"
HOOKS = {"XDP": "XDP_DRV", "TC": "TC"}
GOALS = {8: (Goal("fused", at_least=0.95), Goal("hops", at_least=0.90)), 16: (Goal("fused", at_least=0.95),)}
_CONTEXT, _DROP = {"XDP": "xdp_md", "TC": "__sk_buff"}, {"XDP": 1, "TC": 2}
_PACKETS = {"XDP": 150_000, "TC": 60_000}


def cubes(length: int, hook: str, *, fuse: bool) -> list[dict[str, object]]:
    """A chain from h1 to h2, both ways: c0, c1, ..."""
    left = ["h1", *(f"c{number}:b" for number in range(length - 1))]
    right = [*(f"c{number}:a" for number in range(1, length)), "h2"]
    ways = [{"inport": one, "action": "FORWARD", "outport": other} for one, other in (("a", "b"), ("b", "a"))]
    said = {"service-name": "simpleforwarder", "type": hook, "loglevel": "OFF", "fuse": fuse, "actions": ways}
    ends = zip(left, right, strict=True)
    return [
        {"name": f"c{number}", **said, "ports": [{"name": "a", "peer": one}, {"name": "b", "peer": other}]}
        for number, (one, other) in enumerate(ends)
    ]


def as_one(length: int, kind: str) -> str:
    """The chain in C, by hand."""
    tables = "\n".join(f"BPF_ARRAY(actions{number}, struct action, 128);" for number in range(length))
    steps = "\n".join(
        f"  a = actions{number}.lookup(&port);\n  if (!a || a->action != 3 || a->outport != 1) return {_DROP[kind]};"
        for number in range(length)
    )
    return f"""
struct action {{ u16 action, outport; }};
{tables}
int run(struct {_CONTEXT[kind]} *ctx) {{
  u32 port = 0;
  struct action *a;
{steps}
  return bpf_redirect(IFINDEX, 0);
}}"""


def run(effort: Effort) -> list[Table]:
    lengths = LENGTHS if not effort.quick else (1, 8)
    return [table for kind in HOOKS for length in lengths for table in one_length(kind, length, effort)]


def one_length(kind: str, length: int, effort: Effort) -> list[Table]:
    live: dict[str, Turn] = {}
    program: dict[str, Turn] = {}
    with contextlib.ExitStack() as stack:
        for name in ("fused", "hops", HAND):
            bed = stack.enter_context(Bed(["h1", "h2"]))
            fd = stack.enter_context(contender(bed, name, kind, length))
            frame = bed.udp("h1", "h2")
            flow = stack.enter_context(bed.flow("h1", "h2", frame, into=kind))
            live[name] = flow.turner(effort.amount(_PACKETS[kind]))
            program[name] = alone(fd, frame, effort.amount(200_000))
        title, goals = f"{kind}, {length} cube{'s' * (length > 1)}", GOALS.get(length, ())
        return [
            compare(f"{title}, live", live, effort, against=HAND, unit="ns a packet", goals=goals),
            compare(f"{title}, program alone", program, effort, against=HAND, unit="ns a run"),
        ]


@contextlib.contextmanager
def contender(bed: Bed, name: str, kind: str, length: int) -> Iterator[int]:
    """The first program that a packet from h1 meets."""
    if name == HAND:
        rows = {f"actions{number}": struct.pack("<HH", 3, 1) for number in range(length)}
        with (
            programs.written(as_one(length, kind), kind, rows, IFINDEX=bed.index("h2")) as fd,
            bed.attached(fd, kind, "h1"),
        ):
            yield fd
        return
    bed.apply({"cubes": cubes(length, HOOKS[kind], fuse=name == "fused")})
    with Bpffs(bed.options.root).opened(stub("c0", "a")) as fd:
        yield fd
