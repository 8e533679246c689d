"""What an apply costs: from a document to a verified kernel, against the bare kernel calls.

Rings of 10, 100 and 1,000 forwarders. *Cold*: no program is compiled yet. *Warm*: all are in the cache, none is in the kernel.
*No-op*: all is as the document says. Each from the document's text on, in a process that runs already and remembers nothing.
*pcn-apply, no-op*: the same by the command, started anew. *No-op, again*: a look of an agent that goes on from what it found the
last time. *Bare*: the system calls by which the warm apply wrote (maps, programs, rows, pins), recorded and made again by one
thread with nothing around them: no check, no look at what is there, no plan, and nothing that could undo it. Nobody is bound to a
CPU: an apply has two threads load programs. The second table of each size has the CPU time, user and system, of the same turns.
"""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import topologies
from benchmarks.compare import Effort, Goal, Row, Table, compare
from benchmarks.edit import started_anew
from benchmarks.machine import pinned
from benchmarks.replay import Calls, Recording
from reconciler.agent.controller import Controller
from reconciler.agent.files import DesiredDocuments
from reconciler.document.load import parse
from reconciler.engine.apply import ApplyResult, Options, apply

BARE, COMMAND, AGAIN = "bare kernel calls", "pcn-apply, no-op", "no-op, again"
_SETTLED = 0.06  # seconds after which what was made counts as settled


def run(effort: Effort) -> list[Table]:
    sizes = (10, 100) if effort.quick else (10, 100, 1000)
    return [table for size in sizes for table in one_size(size, effort.at_most(2 if effort.quick else 5))]


def one_size(size: int, effort: Effort) -> list[Table]:
    with tempfile.TemporaryDirectory(prefix="pcn-bench-") as directory:
        ring = Ring(size, Path(directory) / "bench.yaml")
        turns = {"cold": ring.cold, "warm": ring.warm, "no-op": ring.noop}
        turns |= {COMMAND: ring.command, AGAIN: ring.again, BARE: ring.bare}
        goals = [Goal("warm", at_least=0.5), *(Goal(name, at_most=300, of="value") for name in ("no-op", COMMAND, AGAIN))]
        title, unit = f"{size:,} cubes", "milliseconds"
        goals = goals if size == 1000 else []
        wall = compare(title, turns, effort, against=BARE, unit=unit, goals=goals, note=ring.note(), bound=False)
        ring.remove()
    bare = ring.cpu[BARE][1:]  # of the turns that were not thrown away
    rows = tuple(Row(name, (own := tuple(ring.cpu[name][1:])), tuple(map(float.__truediv__, bare, own))) for name in turns)
    return [wall, Table(f"{title}, CPU time", "milliseconds of CPU", rows, BARE)]


class Ring:
    """A ring in the kernel, or not: each turn finds out, and sees to what it needs. `cpu` has what every turn took, in
    milliseconds."""

    def __init__(self, size: int, file: Path) -> None:
        self.text, self.options, self.file = topologies.ring(size), Options(root=os.environ["PCN_BPFFS"]), file
        self.cpu: dict[str, list[float]] = {}
        file.write_text(self.text)
        self.apply()  # so that programs are compiled
        self.remove()
        with pinned(), Recording(self.options.root) as recording:  # on one CPU no two calls are made at once
            self.result = self.apply()
        self.calls: Calls = recording.calls()

    def apply(self) -> ApplyResult:
        return apply(parse(self.text, "bench"), Options(root=self.options.root))

    def remove(self) -> None:
        """There is no netdev in it, so its pins are all."""
        if os.path.lexists(self.options.root):
            shutil.rmtree(self.options.root)

    def make(self) -> None:
        if not os.path.lexists(self.options.root):
            self.apply()

    def note(self) -> str:
        return f"{len(self.result.plan.steps)} steps; {len(self.calls)} kernel calls that write."

    def cold(self) -> float:
        self.remove()
        cache = Path(os.environ["PCN_CACHE"])
        kept = cache.with_name("kept")
        cache.rename(kept)
        cache.mkdir()
        try:
            return self._timed("cold", self.apply)
        finally:
            shutil.rmtree(cache)
            kept.rename(cache)

    def warm(self) -> float:
        self.remove()
        return self._timed("warm", self.apply)

    def noop(self) -> float:
        self.make()
        return self._timed("no-op", self.apply)

    def again(self) -> float:
        self.make()
        documents = tuple(parse(self.text, "bench"))
        healer = Controller(Options(root=self.options.root))
        healer.want(DesiredDocuments(documents, frozenset(t.name for t in self.result.wanted), "bench"))
        healer.poll()
        time.sleep(_SETTLED)
        healer.poll()
        return self._timed(AGAIN, healer.poll)

    def command(self) -> float:
        self.make()
        return self._timed(COMMAND, lambda: started_anew(self.file))

    def bare(self) -> float:
        self.remove()
        taken = self._timed(BARE, self.calls.run)
        self.remove()
        return taken

    def _timed(self, name: str, function: Callable[[], object]) -> float:
        """Milliseconds by the clock; those of CPU are noted."""
        began, used = time.perf_counter(), _used()
        function()
        taken = time.perf_counter() - began
        self.cpu.setdefault(name, []).append(1000 * (_used() - used))
        return 1000 * taken


def _used() -> float:
    """Seconds of CPU that this process and those that it waited for have had."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in both)
