"""A cube exchanged a thousand times under full load.

One process puts packets in as fast as one CPU carries them, from netdev to netdev; another, on another CPU, applies a document
in which one cube's loglevel has changed, a thousand times: each is a program loaded and put in place of the running one. Then the
books are balanced: what was sent, what arrived, and what a netdev's or a CPU's full queue dropped, which has nothing to do with
cubes. What is left is lost; some of it the cubes may have dropped and counted.
"""

from __future__ import annotations

import contextlib
import os
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import chain
from benchmarks.bed import Bed, Flow
from benchmarks.compare import Effort, Goal, Row, Table
from reconciler.kernel import netns
from reconciler.kernel.bpffs import Bpffs
from reconciler.kernel.percpu import fold_cpus
from reconciler.kernel.reader import Reader
from reconciler.plan.steps import PROGRAM_LOADS

CASES = (("XDP", 1), ("TC", 1), ("XDP", 8), ("TC", 8))
_CHUNK = 20_000  # packets; about 10 ms


@dataclass(frozen=True)
class Books:
    """Packets, but for `milliseconds`, which is of one exchange, from the document to the verified kernel."""

    sent: int
    arrived: int
    overflowed: int
    dropped: int
    exchanges: int
    milliseconds: float

    @property
    def lost(self) -> int:
        return self.sent - self.arrived - self.overflowed


def run(effort: Effort) -> list[Table]:
    return [as_table(kind, length, exchanges(kind, length, effort.amount(1000))) for kind, length in CASES]


def as_table(kind: str, length: int, books: Books) -> Table:
    said = {
        "sent": books.sent,
        "arrived": books.arrived,
        "dropped by full queues": books.overflowed,
        "dropped by cubes": books.dropped,
        "lost": books.lost,
    }
    title = f"{kind}, {'alone' if length == 1 else f'in a chain of {length}'}"
    note = (
        f"{books.exchanges} exchanges, {books.milliseconds:.1f} ms each on average, from the document to the verified kernel; "
        f"{books.sent // books.exchanges} packets to an exchange."
    )
    rows = tuple(Row(name, (float(value),)) for name, value in said.items())
    return Table(title, "packets", rows, note=note, goals=(Goal("lost", at_most=0, of="value"),))


def exchanges(kind: str, length: int, count: int) -> Books:
    """Exchange the cube in the middle of a chain so often under load."""
    with Bed(["h1", "h2"]) as bed:
        cubes = chain.cubes(length, chain.HOOKS[kind], fuse=True)
        bed.apply({"cubes": cubes})
        with bed.flow("h1", "h2", bed.udp("h1", "h2"), into=kind) as flow:
            before = overflows(bed), dropped(bed, length), flow.arrived()
            with Load(flow) as load:
                began = time.perf_counter()
                for number in range(count):
                    cubes[length // 2]["loglevel"] = ("DEBUG", "INFO")[number % 2]
                    assert bed.apply({"cubes": cubes}).plan.total(PROGRAM_LOADS)
                took = time.perf_counter() - began
            time.sleep(0.1)
            after = overflows(bed), dropped(bed, length), flow.arrived()
            over, drops, arrived = (now - then for now, then in zip(after, before, strict=True))
            return Books(load.sent, arrived, over, drops, count, 1000 * took / count)


class Load:
    """A process that sends all the while, on the last CPU; this one has the others meanwhile. Afterwards `sent` is how many."""

    def __init__(self, flow: Flow) -> None:
        self._flow, self.sent = flow, 0

    def __enter__(self) -> Load:
        self._cpus = os.sched_getaffinity(0)
        self._said, said = os.pipe()
        told, self._tell = os.pipe()
        self._child = os.fork()
        if not self._child:
            os.close(self._tell)
            self._send(told, said)
        os.close(said)
        os.close(told)
        os.sched_setaffinity(0, self._cpus - {max(self._cpus)} or self._cpus)
        os.read(self._said, 8)  # the first packets are through
        return self

    def _send(self, told: int, said: int) -> None:
        """In the child. Told to end by the pipe's end."""
        os.sched_setaffinity(0, {max(self._cpus)})
        os.set_blocking(told, False)
        sent = 0
        while True:
            self._flow.put(_CHUNK)
            sent += _CHUNK
            if sent == _CHUNK:
                os.write(said, struct.pack("<q", sent))
            with contextlib.suppress(BlockingIOError):
                os.read(told, 1)
                os.write(said, struct.pack("<q", sent))
                os._exit(0)

    def __exit__(self, *_: object) -> None:
        os.close(self._tell)
        (self.sent,) = struct.unpack("<q", os.read(self._said, 8))
        os.waitpid(self._child, 0)
        os.close(self._said)
        os.sched_setaffinity(0, self._cpus)


def overflows(bed: Bed) -> int:
    """Packets that a queue had no room for: those of the netdevs on the way, and each CPU's own."""
    total = sum(int(line.split()[1], 16) for line in Path("/proc/net/softnet_stat").read_text().splitlines())
    for space in (bed.middle, *map(bed.space, bed.hosts)):
        with netns.inside(space):
            total += sum(_drops(Path("/proc/thread-self/net/dev").read_text()))
    return total


def _drops(text: str) -> Iterator[int]:
    for line in text.splitlines()[2:]:
        figures = line.partition(":")[2].split()
        yield int(figures[3]) + int(figures[11])  # received and dropped, sent and dropped


def dropped(bed: Bed, length: int) -> int:
    """What the cubes themselves say that they dropped, for whatever reason."""
    reader, total = Reader(Bpffs(bed.options.root)), 0
    for number in range(length):
        found = reader.rows(f"cubes/c{number}/drops")
        assert found is not None
        total += sum(struct.unpack("<Q", fold_cpus(found[0], value))[0] for value in found[1].values())
    return total
