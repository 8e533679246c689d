"""What an apply costs: from a document to a verified kernel, against the bare kernel calls.

Rings of 10, 100 and 1,000 forwarders. *Cold*: no program is compiled yet. *Warm*: all are in the cache, none is in the kernel.
*No-op*: all is as the document says. Each from the document's text on, in a process that runs already. *Bare*: the system calls
by which the warm apply wrote (maps, programs, rows, pins), recorded and made again with nothing around them: no check, no look at
what is there, no plan, and nothing that could undo it.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import topologies
from benchmarks.compare import Effort, Goal, Table, compare
from benchmarks.replay import Calls, Recording
from reconciler.apply import Options, Result, apply
from reconciler.document.load import parse

BARE = "bare kernel calls"


def run(effort: Effort) -> list[Table]:
    sizes = (10, 100) if effort.quick else (10, 100, 1000)
    return [one_size(size, effort.at_most(2 if effort.quick else 5)) for size in sizes]


def one_size(size: int, effort: Effort) -> Table:
    ring = Ring(size)
    turns = {"cold": ring.cold, "warm": ring.warm, "no-op": ring.noop, BARE: ring.bare}
    goals = [Goal("warm", at_least=0.5)] if size == 1000 else []
    goals += [Goal("no-op", at_most=300, of="value")] if size == 1000 else []
    table = compare(f"{size} cubes", turns, effort, against=BARE, unit="milliseconds", goals=goals, note=ring.note())
    ring.delete()
    return table


class Ring:
    """A ring in the kernel, or not: each turn leaves none."""

    def __init__(self, size: int) -> None:
        self.text, self.options = topologies.ring(size), Options(root=os.environ["PCN_BPFFS"])
        self.apply()  # so that programs are compiled
        self.delete()
        with Recording(self.options.root) as recording:
            self.result = self.apply()
        self.delete()
        self.calls: Calls = recording.calls()

    def apply(self) -> Result:
        return apply(parse(self.text, "bench"), self.options)

    def delete(self) -> None:
        if os.path.lexists(self.options.root):
            apply(parse(self.text, "bench"), self.options, delete=True)

    def note(self) -> str:
        return f"{len(self.result.plan.steps)} steps; {len(self.calls)} kernel calls that write."

    def cold(self) -> float:
        cache = Path(os.environ["PCN_CACHE"])
        kept = cache.with_name("kept")
        cache.rename(kept)
        cache.mkdir()
        try:
            return self.warm()
        finally:
            shutil.rmtree(cache)
            kept.rename(cache)

    def warm(self) -> float:
        taken = milliseconds(self.apply)
        self.delete()
        return taken

    def noop(self) -> float:
        self.apply()
        taken = milliseconds(self.apply)
        self.delete()
        return taken

    def bare(self) -> float:
        taken = milliseconds(self.calls.run)
        shutil.rmtree(self.options.root)
        return taken


def milliseconds(function: Callable[[], object]) -> float:
    began = time.perf_counter_ns()
    function()
    return (time.perf_counter_ns() - began) / 1e6
