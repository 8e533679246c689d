"""`kill -9` at any moment: the next apply finishes or rolls back by itself, packets flow, and nothing is left in the end.

A process that applies is killed at many moments, spread evenly over the time that each kind of apply takes: a first apply of
20 cubes, an edit of nearly everything, and a deletion. What comes next is either the same apply again or the one before it.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from pathlib import Path

import pytest

from reconciler.kernel import linkwrite, rtnl
from reconciler.plan.steps import Step
from tests.faults.bench import Bench, at_once
from tests.faults.graphs import TOPOLOGIES, Data, as_text, cube, example, hosts, unique, unreachable
from tests.faults.large_topology import large_topology
from tests.lib.packets import ping

SEED = 20

# What an apply imports and reads of services and compiled programs is there before the clock starts, so that the moments fall
# into its work; and only once, since 200 interpreters take a minute to start. Each job is a process of its own, which does what
# the command does.
_PARENT = """
import sys
sys.path.insert(0, sys.argv[1])
import json, os, networkx, pyroute2
from reconciler.engine import apply, session; from reconciler import check, compiler, graph, plan
from reconciler.live import execute
from reconciler.document import load
from reconciler.live import observe
from reconciler.live import observe_links
from reconciler.cli import apply as _, main
from reconciler.kernel import linkmake, reader
main.main(json.loads(sys.argv[2]))
for line in sys.stdin:
    child = os.fork()
    if not child:
        os._exit(main.main(json.loads(line)))
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Applier:
    """Does applies in processes that can be killed."""

    def __init__(self, root: str, directory: Path, first: Data) -> None:
        self._root, self._file = root, directory / "topology.json"
        self._file.write_text(as_text(first))
        plan = json.dumps(["plan", "--bpffs", root, "--quiet", str(self._file)])
        argv = [sys.executable, "-I", "-c", _PARENT, str(TOPOLOGIES.parents[1]), plan]
        self._errors = (directory / "errors").open("w+")
        self._parent = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True)

    def run(self, old: Data | None, new: Data | None, seconds: float | None = None) -> float | None:
        """Apply `new`, or delete `old` if there is none, and be killed after `seconds`. How long it took; None if it was
        killed before it was done."""
        assert self._parent.stdin
        self._file.write_text(as_text(new or old))
        started = time.monotonic()
        arguments = ["apply", "--bpffs", self._root, "--quiet", *(["--delete"] if new is None else []), str(self._file)]
        self._parent.stdin.write(json.dumps(arguments) + "\n")
        self._parent.stdin.flush()
        child = self._answer()
        if seconds is not None:
            with suppress(ProcessLookupError):  # it was done before that
                kill_after(child, max(0.0, seconds - (time.monotonic() - started)))
        outcome = self._answer()
        if outcome not in (0, -signal.SIGKILL):
            self._errors.seek(0)
            raise AssertionError(f"the apply ended with {outcome}: {self._errors.read()}")
        return time.monotonic() - started if outcome == 0 else None

    def _answer(self) -> int:
        assert self._parent.stdout
        return int(self._parent.stdout.readline())

    def end(self) -> None:
        self._parent.communicate()
        self._errors.close()


def kill_after(process: int, seconds: float) -> None:
    handle = os.pidfd_open(process)
    try:
        select.select([handle], [], [], seconds)
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    finally:
        os.close(handle)


def much_edited(old: Data) -> Data:
    """Programs swapped, cubes replaced, moved out of the chain and removed, links made anew, changed and removed, rows changed."""
    new = deepcopy(old)
    spec = new["spec"]
    cube(new, "fast")["type"] = cube(new, "xguard")["type"] = "XDP_SKB"  # replaced
    del cube(new, "xguard")["blacklist-dst"]
    cube(new, "guard2")["blacklist-src"] = [{"ip": "192.0.2.7"}]  # a constant: its program is swapped
    cube(new, "guard")["blacklist-src"].append({"ip": "2001:db8::1"})
    replaced = cube(new, "f2")
    replaced.update({"service-name": "simpleforwarder", "actions": deepcopy(cube(new, "f1")["actions"])})
    del replaced["action"]
    for name in ("f3", "f4", "f5"):
        cube(new, name)["loglevel"] = "TRACE"
    for name in ("f10", "f11"):  # out of the chain
        spec["cubes"].remove(cube(new, name))
    cube(new, "f9")["ports"][1]["peer"] = f"{cube(new, 'right')['name']}:chain"
    cube(new, "right")["ports"][1]["peer"] = f"{cube(new, 'f9')['name']}:e"
    doomed = spec["links"].pop(3)  # with its host
    spec["namespaces"].remove(doomed["peer"]["netns"])
    cube(new, "far")["ports"].pop(0)
    spec["links"][0]["peer"]["name"] = "wire"
    spec["links"][1]["mtu"] = spec["links"][1]["peer"]["mtu"] = 1450
    return new


def silent(data: Data | None) -> list[str]:
    """Hosts that do not reach the next one of their subnet."""
    if data is None:
        return []
    found = []
    for subnet in ("10.9.0.", "10.9.1."):
        there = [host for host in hosts(data) if host.ip.startswith(subnet)]
        pairs = zip(there, [*there[1:], there[0]], strict=True)
        found += [f"{a.netns} -> {b.ip}" for a, b in pairs if not ping(a.netns, b.ip, 1)]
    return found


State = str  # 'nothing', 'first' or 'edited'
Move = tuple[State, State]
MOVES: dict[Move, float] = {  # shares of the kills
    ("nothing", "first"): 0.3, ("first", "edited"): 0.23, ("edited", "first"): 0.22, ("first", "nothing"): 0.15, ("edited", "nothing"): 0.1,
}  # fmt: skip


def moments(rng: random.Random, kills: int) -> dict[Move, list[float]]:
    """For each move, its fractions of a duration: one at random in each of as many equal parts, in any order."""
    found = {}
    for move, share in MOVES.items():
        parts = round(share * kills)
        found[move] = [(part + rng.random()) / parts for part in range(parts)]
        rng.shuffle(found[move])
    return found


def next_move(rng: random.Random, state: State, left: dict[Move, list[float]]) -> Move:
    """A move from this state, the likelier the more of its kind are left; without any, one that leads on."""
    here = [move for move in MOVES if move[0] == state]
    return rng.choices(here, [len(left[move]) + 0.01 for move in here])[0]


@pytest.fixture
def bench(own_root: str) -> Bench:
    return Bench(own_root)


@pytest.fixture
def no_compiler_leftovers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A directory for temporary files that no other test uses, and that is empty in the end."""
    own = tmp_path / "tmp"
    own.mkdir()
    monkeypatch.setenv("TMPDIR", str(own))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield
    assert list(own.iterdir()) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("no_compiler_leftovers")
@pytest.mark.parametrize("kills", [40, pytest.param(200, marks=pytest.mark.exhaustive)])
def test_after_a_kill_at_any_moment_the_next_apply_converges_and_packets_flow(own_root: str, tmp_path: Path, kills: int) -> None:
    """Half of them here and half in another process, side by side."""
    def half(bench: Bench, seed: int) -> list[str]:
        return kill_often(bench, seed, kills // 2, tmp_path / str(seed))

    assert at_once(own_root, lambda bench: half(bench, SEED), lambda bench: half(bench, SEED + 1)) == []


def kill_often(bench: Bench, seed: int, wanted: int, directory: Path) -> list[str]:
    """So many kills, each followed by an apply; gives what is wrong after any of them."""
    rng = random.Random(seed)
    first = large_topology()
    graphs: dict[State, Data | None] = {"nothing": None, "first": first, "edited": much_edited(first)}
    assert len(first["spec"]["cubes"]) == 20
    directory.mkdir()
    bench.apply(first)  # fills the cache of compiled programs
    bench.delete(first)
    applier = Applier(bench.root, directory, first)
    wrong: list[str] = []
    try:
        durations = measured(applier, graphs)
        left, state, kills, missed = moments(rng, wanted), "nothing", 0, 0
        while kills < wanted and missed < 2 * wanted:
            move = next_move(rng, state, left)
            fraction = left[move].pop() if left[move] else rng.random()
            took = applier.run(graphs[state], graphs[move[1]], fraction * durations[move])
            kills, missed = kills + (took is None), missed + (took is not None)
            state = rng.choice([move[1], move[1], move[0]])
            wrong += [f"{move[0]} to {move[1]}, killed at {fraction:.0%}, then to {state}: {each}" for each in converge(bench, graphs, state)]
        wrong += [] if kills == wanted else ["most of them were done before they were killed"]
    finally:
        applier.end()
        bench.clear()
    return wrong + [f"{path} is left" for path in bench.paths()]


def measured(applier: Applier, graphs: dict[State, Data | None]) -> dict[Move, float]:
    """How long each move takes, by a walk through all of them that starts and ends at 'nothing'."""
    durations: dict[Move, float] = {}
    walk = ["nothing", "first", "edited", "first", "nothing", "first", "edited", "nothing"]
    for move in itertools.pairwise(walk):
        took = applier.run(graphs[move[0]], graphs[move[1]])
        assert took is not None
        durations[move] = took
    return durations


def converge(bench: Bench, graphs: dict[State, Data | None], target: State) -> list[str]:
    """Apply (or delete) as a user would who knows of no kill; gives what is not as it should be then."""
    data = graphs[target]
    if data is None:
        for given in (graphs["first"], graphs["edited"]):  # one of them is applied, or both have the same name anyway
            bench.delete(given or {})
        return [f"{path} is left" for path in bench.paths()]
    bench.apply(data)
    return [f"{step.address} is still to be done" for step in bench.plan(data).plan.steps] + silent(data)


def killed(run: Callable[[], object]) -> bool:
    """Run something in a child of this process. Whether it was killed."""
    child = os.fork()
    if child == 0:
        try:
            run()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("kind", ["TC", "XDP_DRV"])
def test_a_first_apply_that_is_killed_ahead_of_any_step_is_finished_or_removed_by_the_next(bench: Bench, kind: str) -> None:
    data = unique(example("simplebridge"))
    cube(data, "br1")["type"] = kind
    bench.apply(data)  # fills the cache, so that no compiler runs in the children
    bench.delete(data)

    def ahead_of(number: int) -> Callable[[int, Step], None]:
        return lambda now, _: die() if now == number else None

    wrong: list[str] = []
    for number in itertools.count():
        if not killed(lambda number=number: bench.apply(data, before=ahead_of(number))):
            break
        if number % 2:
            bench.apply(data)
            wrong += [f"step {number}: {step.address} is still to be done" for step in bench.plan(data).plan.steps]
            wrong += [f"step {number}: {pair} do not talk" for pair in unreachable(data)]
        bench.delete(data)
        wrong += [f"step {number}: {path} is left" for path in bench.paths()]
    assert number > 30
    assert wrong == []
    bench.delete(data)


def test_a_netdev_that_had_no_time_to_be_marked_is_known_for_ours(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between its birth and its mark; then something else is applied, which does not name it."""
    data, other = unique(example("simplebridge")), unique(example("simpleforwarder"))
    bench.apply(data)
    bench.delete(data)
    with monkeypatch.context() as patch:
        patch.setattr(linkwrite, "set_link", die)
        assert killed(lambda: bench.apply(data))
    born = {link["name"] for link in data["spec"]["links"]} & set(rtnl.links())
    assert len(born) == 1
    try:
        bench.apply(other)
        assert not born & set(rtnl.links())
        assert bench.plan(other).plan.steps == ()
        assert unreachable(other) == []
    finally:
        bench.clear()
    assert list(bench.paths()) == []


def test_a_kill_while_compiling_leaves_no_compiler_and_no_files(bench: Bench, tmp_path: Path) -> None:
    """At ten moments of a first apply on a machine whose cache is empty."""
    data = unique(example("simplebridge"))
    file, scratch, cache = tmp_path / "topology.json", tmp_path / "tmp", tmp_path / "cache"
    file.write_text(as_text(data))
    scratch.mkdir()
    environment = os.environ | {"TMPDIR": str(scratch), "PCN_CACHE": str(cache)}
    argv = [str(Path(sys.executable).parent / "pcn-apply"), "--bpffs", bench.root, "--quiet", str(file)]
    started = time.monotonic()
    subprocess.run(argv, env=environment, check=True)
    took = time.monotonic() - started
    bench.delete(data)
    try:
        for part in range(10):
            shutil.rmtree(cache, ignore_errors=True)
            process = subprocess.Popen(argv, env=environment)
            with suppress(subprocess.TimeoutExpired):
                process.wait(took * (part + 0.5) / 10)
            process.kill()
            process.wait()
        subprocess.run(argv, env=environment, check=True)
        assert bench.plan(data).plan.steps == ()
        assert unreachable(data) == []
        assert sorted(path.name for path in scratch.iterdir()) == []
        assert [file for file in _open_files() if file.startswith(f"{scratch}/")] == [], "a compiler is at work for nobody"
    finally:
        bench.clear()


def _open_files() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            found.append(os.readlink(path))
    return found
