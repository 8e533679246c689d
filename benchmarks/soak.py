"""Traffic with an edit a second, for as long as asked: nothing may be lost, and the agent's memory must stay flat.

    sudo .venv/bin/python -m benchmarks.soak --minutes 30

A line a minute, and a summary as JSON at the end. It runs in namespaces of its own, but the queue in which a CPU keeps the
packets of virtual devices is one for the whole machine. So each loss says whether that queue overflowed in the same second:
`elsewhere` are those, `lost` are all.
"""
from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.lib.agent_process import OWNED, AgentProcess, Bench, Stream
from tests.lib.lab import Lab
from tests.lib.sandbox import enter_sandbox

HEADINGS = ("minute", "edits", "applied", "sent", "lost", "elsewhere", "overflows", "RSS KiB", "fds", "CPU %")
_NEAR = 1.5  # seconds between the sending of a packet and a look at the machine's queues


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=200.0, help="packets a second")
    args = parser.parse_args()
    enter_sandbox()
    with tempfile.TemporaryDirectory() as directory, Lab(OWNED) as lab:
        bench = Bench(lab, Path(directory))
        bench.save()
        lab.apply()
        with bench.agent() as agent:
            print(json.dumps(Soak(bench, agent, args.rate).run(args.minutes)))


@dataclass(slots=True)
class Soak:
    """One run. `memory` is the agent's in KiB at the end of each minute, `overflows` when the machine's queues were full
    (`time.monotonic`) and by how many packets."""

    bench: Bench
    agent: AgentProcess
    rate: float
    edits: int = 0
    sent: int = 0
    lost: int = 0
    elsewhere: int = 0
    memory: list[int] = field(default_factory=list)
    overflows: list[tuple[float, int]] = field(default_factory=list)

    def run(self, minutes: float) -> dict[str, object]:
        print(*(f"{heading:>9}" for heading in HEADINGS), flush=True)
        began = time.monotonic()
        while (left := began + minutes * 60 - time.monotonic()) > 0:
            self.minute(min(60.0, left), began)
        self.agent.until(lambda said: said["healthy"], 10)
        return {"edits": self.edits, "sent": self.sent, "lost": self.lost, "elsewhere": self.elsewhere, "kernel": self.in_sync(),
                "rss_first_kib": self.memory[0], "rss_last_kib": self.memory[-1], "growth_kib": growth(self.memory),
                "reconciles": self.agent.status()["reconciles"]}  # fmt: skip

    def minute(self, seconds: float, began: float) -> None:
        """Traffic and edits for so long, and a line about it."""
        start, cpu, full = time.monotonic(), self.agent.cpu(), len(self.overflows)
        with self.bench.stream(self.rate) as stream:
            self.edit_each_second(start + seconds)
            stream.close()
        lost, elsewhere = self.losses(stream)
        self.sent, self.lost, self.elsewhere = self.sent + len(stream.sent), self.lost + lost, self.elsewhere + elsewhere
        self.memory.append(self.agent.memory())
        used = (self.agent.cpu() - cpu) / (time.monotonic() - start) * 100
        full_by = sum(count for _, count in self.overflows[full:])
        applied = self.agent.status()["reconciles"]["applied"]
        counts = (self.edits, applied, len(stream.sent), lost, elsewhere, full_by, self.memory[-1], descriptors(self.agent))
        minutes = (time.monotonic() - began) / 60
        print(f"{minutes:9.1f}", *(f"{number:9}" for number in counts), f"{used:9.1f}", flush=True)

    def edit_each_second(self, until: float) -> None:
        due, seen = time.monotonic(), backlog_overflows()
        while due < until:
            self.edits += 1
            edit(self.bench, self.edits)
            due += 1.0
            time.sleep(max(0.0, due - time.monotonic()))
            if (now := backlog_overflows()) != seen:
                self.overflows.append((time.monotonic(), now - seen))
                seen = now

    def losses(self, stream: Stream) -> tuple[int, int]:
        """How many packets were lost, and how many of these while the machine's queues were full."""
        runs = stream.losses()
        near = [any(first - _NEAR < when < last + _NEAR for when, _ in self.overflows) for first, last, _ in runs]
        return sum(count for *_, count in runs), sum(count for (*_, count), full in zip(runs, near, strict=True) if full)

    def in_sync(self) -> str:
        """Whether the kernel holds what the last good edit says."""
        return "differs from the last edit" if self.bench.lab.plan().plan.steps else "as the last edit says"


def growth(memory: list[int]) -> int:
    """KiB, between the halves of what was measured once the agent had settled."""
    settled = memory[len(memory) // 4 :]
    half = len(settled) // 2 or 1
    return round(statistics.mean(settled[-half:]) - statistics.mean(settled[:half]))


def descriptors(agent: AgentProcess) -> int:
    return len(os.listdir(f"/proc/{agent.process.pid}/fd"))


def backlog_overflows() -> int:
    """Packets that the machine dropped since boot because a CPU's queue was full."""
    return sum(int(line.split()[1], 16) for line in Path("/proc/net/softnet_stat").read_text().splitlines())


def edit(bench: Bench, number: int) -> None:
    """One of: a value, a static row, a log level (which swaps the program), a port; every tenth is broken for half a second."""
    cube = bench.lab.cube("br1")
    match number % 4:
        case 0:
            cube["fdb"]["aging-time"] = 60 + number % 200
        case 1:
            cube["fdb"]["entry"] = [{"address": f"02:00:00:00:00:{number % 200 + 16:02x}", "port": "p1"}]
        case 2:
            cube["loglevel"] = "DEBUG" if cube.get("loglevel") != "DEBUG" else "INFO"
        case 3:
            cube["ports"] = cube["ports"][:2] + ([{"name": "p3"}] if len(cube["ports"]) == 2 else [])
    bench.save()
    if number % 10 == 0:
        time.sleep(0.4)
        bench.file.write_text(bench.file.read_text().replace("aging-time", f"aging-{number}"))
        time.sleep(0.5)
        bench.save()


if __name__ == "__main__":
    main()
