"""A fleet in one process: so many agents' feeds against one git daemon and one etcd, without kernels.

    python -m benchmarks.fleet --agents 1000 --every 60

Each is the feed of an agent as it is (reconciler/sources): its watch or its `ls-remote`, its fetches, its directory, its reports.
Only what would apply the files says instead that it has. Said are the time from a change to the last host that has it, to the
last status that says so, and what the source spends on it: CPU of the daemon with its children, or of etcd.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reconciler.document.hosts import Host
from reconciler.sources.etcd import EtcdSource
from reconciler.sources.feed import Care, Feed
from reconciler.sources.git import GitPlace, GitSource, blobs
from reconciler.sources.source import Source
from reconciler.sources.spool import Spool
from tests.lib.fleet import Etcd, Repository, topology
from tests.lib.sandbox import enter_sandbox

PATIENCE = 900.0  # seconds
IDLE = 30.0  # seconds over which the load of a fleet is measured in which nothing happens
_CLOCK = os.sysconf("SC_CLK_TCK")


class Simulated:
    """One host: a feed, and the time at which each revision was published."""

    def __init__(self, number: int, home: Path, source: Source) -> None:
        self.host = Host({"hostname": f"host-{number}"})
        spool_home = home / f"spool-{source.name}-{number}"
        spool_home.mkdir()
        self.published: dict[str, float] = {}
        self.feed = Feed(source, Spool(spool_home), self.host, Care(reports=True), self._published, self._status)

    def _published(self) -> None:
        self.published.setdefault(self.feed.revision, time.monotonic())

    def _status(self) -> dict[str, Any]:
        said = {"files": [], "problems": [], "pending": [], "drift": {"now": []}, "trials": [], "topologies": ["edge"]}
        return said if self.published else {**said, "pending": ["edge"]}


def spent(process: int) -> float:
    """Seconds of CPU of a process, of its children, and of theirs that have ended (`git daemon` is a child of git)."""
    words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    own = sum(map(int, words[11:15])) / _CLOCK
    return own + sum(spent(int(child)) for child in children if Path(f"/proc/{child}").exists())


def until(condition: Callable[[], bool], pause: float = 0.05) -> float:
    """When it held."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {PATIENCE:g} s")
        time.sleep(pause)
    return time.monotonic()


@contextmanager
def running(fleet: list[Simulated], ramp: float) -> Iterator[None]:
    """Started over `ramp` seconds, as hosts are that were not all switched on at one moment."""
    try:
        for each in fleet:
            each.feed.start()
            time.sleep(ramp / len(fleet))
        yield
    finally:
        with ThreadPoolExecutor(100) as closing:
            list(closing.map(lambda each: each.feed.close(), fleet))


def measured(
    name: str, fleet: list[Simulated], ramp: float, change: Callable[[], str], server: Callable[[], int],
    statuses: Callable[[], list[Any]], has: Callable[[str, str], bool],
) -> None:  # fmt: skip
    size = len(fleet)

    def reported(revision: str) -> int:
        return sum(has(said.get("revision") or "", revision) for said in statuses())

    def when(each: Simulated, revision: str) -> float:
        return min((at for found, at in dict(each.published).items() if has(found, revision)), default=0.0)

    with running(fleet, ramp):
        until(lambda: all(each.published for each in fleet))
        until(lambda: len(statuses()) == size, 1.0)
        mine, theirs, began = time.process_time(), spent(server()), time.monotonic()
        time.sleep(IDLE)
        span = time.monotonic() - began
        print(f"{name}, idle: the source {(spent(server()) - theirs) / span:.3f} CPUs, {size} agents "
              f"{(time.process_time() - mine) / span:.3f} CPUs without their git processes", flush=True)  # fmt: skip
        mine, theirs, began = time.process_time(), spent(server()), time.monotonic()
        revision = change()
        changed = time.monotonic()
        until(lambda: all(when(each, revision) for each in fleet))
        took = sorted(when(each, revision) - changed for each in fleet)
        print(f"{name}, a change: half of {size} have it after {statistics.median(took):.2f} s, 99 % after "
              f"{took[int(size * 0.99) - 1]:.2f} s, the last after {took[-1]:.2f} s; the source spent "
              f"{spent(server()) - theirs:.1f}, the agents {time.process_time() - mine:.1f} s of CPU", flush=True)  # fmt: skip
        ended = until(lambda: reported(revision) == size, 1.0)
        print(f"{name}, all statuses say so after {ended - changed:.1f} s; the source spent {spent(server()) - theirs:.1f} s "
              f"of CPU in {ended - began:.1f} s", flush=True)  # fmt: skip


def by_etcd(size: int, home: Path) -> None:
    etcd = Etcd(home / "etcd")
    try:
        etcd.put("/pcn/topologies/edge", topology("edge"))
        fleet = [Simulated(number, home, EtcdSource(etcd.url)) for number in range(size)]
        asking = EtcdSource(etcd.url)
        measured("etcd", fleet, 10.0, lambda: str(etcd.put("/pcn/topologies/edge", topology("edge", "FORWARD"))),
                 lambda: etcd.process.pid, asking.statuses,
                 lambda found, wanted: bool(found) and int(found) >= int(wanted))  # fmt: skip
        words = Path(f"/proc/{etcd.process.pid}/status").read_text().split()
        print(f"etcd, memory at most: {int(words[words.index('VmHWM:') + 1]) / 1024:.0f} MiB", flush=True)
    finally:
        etcd.stop()


def by_git(size: int, every: float, home: Path) -> None:
    repository = Repository(home / "git")
    try:
        repository.commit({"edge.yaml": topology("edge")})
        fleet = [Simulated(n, home, GitSource(GitPlace.of(repository.url), home / f"cache-{n}", every)) for n in range(size)]
        (home / "cache-asking").mkdir()
        asking = GitSource(GitPlace.of(repository.url), home / "cache-asking")

        def statuses() -> list[Any]:  # as the daemon has them: asking it would be counted as its load
            return blobs(lambda *words, given=b"": subprocess.run(
                ["git", *words], cwd=repository.bare, input=given, capture_output=True, check=True).stdout)  # fmt: skip

        measured("git", fleet, every, lambda: repository.commit({"edge.yaml": topology("edge", "FORWARD")}),
                 lambda: repository.daemon.pid, statuses, str.__eq__)  # fmt: skip
        began = time.monotonic()
        count = len(asking.statuses())
        print(f"git, pcn fleet status: {count} statuses read in {time.monotonic() - began:.1f} s", flush=True)
    finally:
        repository.stop()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet", description="Simulates a fleet.")
    parser.add_argument("--agents", type=int, default=1000)
    parser.add_argument("--every", type=float, default=30.0, help="seconds between two questions of an agent to Git")
    parser.add_argument("--only", choices=("git", "etcd"))
    args = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(4 * args.agents, 1024),) * 2)
    enter_sandbox()
    with tempfile.TemporaryDirectory() as directory:
        if args.only != "git":
            by_etcd(args.agents, Path(directory))
        if args.only != "etcd":
            by_git(args.agents, args.every, Path(directory))
    return 0


if __name__ == "__main__":
    sys.exit(main())
