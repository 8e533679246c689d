"""One cube against a hand-written redirect.

What the framework costs: a `simpleforwarder` that sends what comes in at one port out of the other, against a program that
is nothing but `return bpf_redirect(IFINDEX, 0)`, at the same hook. *Live* is the whole way of a packet, from the sender's
netdev over the forwarder's to the receiver's, on one CPU. *Program* is the program alone (BPF_PROG_TEST_RUN), without what the
kernel takes for an empty one; there a few nanoseconds are a large ratio.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from pathlib import Path

from benchmarks import programs
from benchmarks.bed import Bed
from benchmarks.compare import Effort, Goal, Row, Table, compare
from benchmarks.testrun import alone, stub
from reconciler.kernel.bpffs import Bpffs

BPF = Path(__file__).resolve().parents[1] / "bpf"
NULL = {"TC": "int run(struct __sk_buff *ctx) { return 2; }", "XDP": "int run(struct xdp_md *ctx) { return 1; }"}
REDIRECT = {
    "TC": "int run(struct __sk_buff *ctx) { return bpf_redirect(IFINDEX, 0); }",
    "XDP": "int run(struct xdp_md *ctx) { return bpf_redirect(IFINDEX, 0); }",
}
OURS, THEIRS = "simpleforwarder", "hand-written"
TYPES = {"TC": "TC", "XDP": "XDP_DRV"}


def cube(kind: str) -> dict[str, object]:
    ports, ways = [{"name": "a", "peer": "h1"}, {"name": "b", "peer": "h2"}], (("a", "b"), ("b", "a"))
    actions = [{"inport": one, "action": "FORWARD", "outport": other} for one, other in ways]
    return {
        "name": "fwd",
        "service-name": "simpleforwarder",
        "type": TYPES[kind],
        "loglevel": "OFF",
        "ports": ports,
        "actions": actions,
    }


def run(effort: Effort) -> list[Table]:
    return [table for kind in ("XDP", "TC") for table in one_hook(kind, effort)] + [lines_of_code()]


def one_hook(kind: str, effort: Effort) -> list[Table]:
    with contextlib.ExitStack() as stack:
        ours, theirs = stack.enter_context(Bed(["h1", "h2"])), stack.enter_context(Bed(["h1", "h2"]))
        ours.apply({"cubes": [cube(kind)]})
        program = stack.enter_context(programs.written(REDIRECT[kind], kind, IFINDEX=theirs.index("h2")))
        null = stack.enter_context(programs.written(NULL[kind], kind))
        stack.enter_context(theirs.attached(program, kind, "h1"))
        packets = effort.amount(100_000 if kind == "TC" else 200_000)

        def live(bed: Bed) -> Callable[[], float]:
            flow = stack.enter_context(bed.flow("h1", "h2", bed.udp("h1", "h2"), into=kind))
            return flow.turner(packets)

        entry = stack.enter_context(Bpffs(ours.options.root).opened(stub("fwd", "a")))
        frame, repeat = ours.udp("h1", "h2"), effort.amount(200_000)
        lives = {OURS: live(ours), THEIRS: live(theirs)}
        alones = {OURS: alone(entry, frame, repeat, null), THEIRS: alone(program, frame, repeat, null)}
        goals = [Goal(OURS, at_least=0.98)]
        return [
            compare(f"{kind}, live", lives, effort, against=THEIRS, unit="ns a packet", goals=goals),
            compare(f"{kind}, program", alones, effort, against=THEIRS, unit="ns a run above an empty program"),
        ]


def lines_of_code() -> Table:
    """Of what a service's author writes; neither comments nor blank lines are counted."""

    def count(text: str) -> float:
        return sum(1 for line in re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL).splitlines() if line.strip())

    half = BPF.parent / "cubes" / "simpleforwarder" / "__init__.py"
    rows = (Row("simpleforwarder, fast path (TC and XDP)", (count((BPF / "simpleforwarder" / "simpleforwarder.c").read_text()),)),
            Row("simpleforwarder, control path", (count(half.read_text()) if half.exists() else 0.0,)),
            Row("hand-written redirect, for one hook and one pair of netdevs", (count(REDIRECT["TC"]),)))  # fmt: skip
    note = ("The hand-written one has no ports, no actions and no drop counter, and somebody has to compile, load and attach it; "
            "Polycube's own simpleforwarder is given in its paper with its C++ control path.")  # fmt: skip
    goals = (Goal(rows[0].name, at_most=17, of="value"), Goal(rows[1].name, at_most=0, of="value"))
    return Table("Lines of code", "lines", rows, note=note, goals=goals)
