"""A feed on a clock of its own: when hosts take a revision, what becomes of a source that is away for long, and of one that is odd."""
from __future__ import annotations

import itertools
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.document.hosts import Host
from reconciler.sources import feed as feed_module
from reconciler.sources import git as git_module
from reconciler.sources.feed import Care, Feed
from reconciler.sources.git import GitPlace, GitSource
from reconciler.sources.source import Revision, Source, SourceError
from reconciler.sources.spool import Spool

CALM = {"files": [], "problems": [], "pending": [], "drift": {"now": []}, "topologies": []}


class Clock:
    """Passes only while somebody waits; `at` says what happens then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self._due: list[tuple[float, Callable[[], object]]] = []
        for module in (feed_module, git_module):
            monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now, time=lambda: self.now))

    def at(self, seconds: float, do: Callable[[], object]) -> None:
        self._due.append((1000.0 + seconds, do))

    def pass_by(self, seconds: float) -> None:
        until = self.now + seconds
        while due := [each for each in self._due if each[0] <= until]:
            first = min(due, key=lambda each: each[0])
            self._due.remove(first)
            self.now = max(self.now, first[0])
            first[1]()
        self.now = max(self.now, until)


class Poked(threading.Event):
    """Who waits for it waits on the clock."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        end = self._clock.now + timeout
        while not self.is_set() and self._clock.now < end:
            self._clock.pass_by(min(0.05, end - self._clock.now))
        return self.is_set()


class Given:
    """A source in memory. `now`: its revision, or what it says instead."""

    name, words, forgets = "given", "given here", False

    def __init__(self) -> None:
        self.now: Revision | SourceError = Revision("1", {"a.yaml": b"1"})
        self.reports: list[Mapping[str, Any]] = []
        self._told = ""

    def kept(self) -> None:
        return None

    def fetch(self) -> Revision | None:
        if isinstance(self.now, SourceError):
            raise self.now
        if self.now.id == self._told:
            return None
        return self.now

    def keep(self, revision: Revision) -> None:
        self._told = revision.id

    def wait(self, poked: threading.Event, seconds: float) -> bool:
        poked.wait(seconds)
        return True

    def report(self, host: str, status: Mapping[str, Any]) -> None:
        self.reports.append(status)

    def statuses(self) -> list[Mapping[str, Any]]:
        return []

    def at(self, revision: str) -> Revision:
        raise SourceError(revision)

    def close(self) -> None:
        pass


class Bench:
    """A host's feed; `run` lives through so many seconds of the clock. `log`: (when, revision) of what was published."""

    def __init__(self, clock: Clock, home: Path, source: Source, host: str = "edge-1", care: Care | None = None) -> None:
        home.mkdir()
        self.clock, self.log = clock, []  # type: ignore[var-annotated]
        self.feed = Feed(source, Spool(home), Host({"hostname": host}), care or Care(), self._published, lambda: CALM)
        self.feed._poked = Poked(clock)

    def _published(self) -> None:
        self.log.append((self.clock.now - 1000.0, self.feed.revision))

    def run(self, seconds: float) -> None:
        def stop() -> None:
            self.feed._stopping.set()
            self.feed._poked.set()

        self.clock.at(seconds, stop)
        self.feed._run()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_hosts_take_a_revision_over_the_time_of_the_spread_each_at_its_own_moment(tmp_path: Path) -> None:
    feeds = [Feed(Given(), Spool(tmp_path), Host({"hostname": f"edge-{n}"}), Care(spread=60.0), lambda: None, lambda: None) for n in range(200)]
    delays = [each._delay("abc") for each in feeds]
    assert delays == [each._delay("abc") for each in feeds], "host and revision determine it"
    assert all(0 <= delay < 60 for delay in delays)
    assert all(30 <= sum(low <= delay < low + 15 for delay in delays) <= 70 for low in (0, 15, 30, 45)), "of 200, 50 in each quarter"
    assert sum(one > two for one, two in zip(delays, (each._delay("abd") for each in feeds), strict=True)) in range(60, 140), "not always the same first"
    assert all(Feed(Given(), Spool(tmp_path), Host({"hostname": "x"}), Care(), lambda: None, lambda: None)._delay(each) == 0 for each in "abc")


def test_a_spread_host_waits_for_its_turn_says_how_it_does_meanwhile_and_comes_at_once_when_asked(clock: Clock, tmp_path: Path) -> None:
    source = Given()
    bench = Bench(clock, tmp_path / "one", source, care=Care(spread=600.0, reports=True))
    delay = bench.feed._delay("2")
    assert 60 < delay < 500, "choose another name"
    clock.at(10, lambda: setattr(source, "now", Revision("2", {"a.yaml": b"2"})))
    clock.at(700, lambda: setattr(source, "now", Revision("3", {"a.yaml": b"3"})))
    clock.at(705, bench.feed.sync)
    bench.run(720)
    (first, one), (second, two), (third, three) = bench.log
    assert (one, two, three) == ("1", "2", "3")
    assert first == 0.0, "a host that has nothing yet does not wait"
    assert delay + 10 <= second <= delay + 12
    assert third <= 706, "somebody asked for it now"
    times = [said["time"] - 1000.0 for said in source.reports]
    assert max(after - before for before, after in itertools.pairwise(times)) < 25, "nobody took it for away"


def test_a_host_that_is_ended_while_it_waits_for_its_turn_ends_at_once(clock: Clock, tmp_path: Path) -> None:
    source = Given()
    bench = Bench(clock, tmp_path / "one", source, care=Care(spread=86400.0))
    clock.at(10, lambda: setattr(source, "now", Revision("2", {"a.yaml": b"2"})))
    bench.run(20)
    assert clock.now < 1030
    assert [each for _, each in bench.log] == ["1"]


def test_what_was_kept_and_is_damaged_is_read_anew_from_the_source(clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(_: object) -> None:
        raise ValueError("no number")

    monkeypatch.setattr(Given, "kept", damaged)
    bench = Bench(clock, tmp_path / "one", Given())
    bench.run(5)
    assert [each for _, each in bench.log] == ["1"]


def git(*words: str, cwd: Path) -> None:
    subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", *words], cwd=cwd, check=True, capture_output=True)


TOPOLOGY = "apiVersion: polycube.network/v1\nkind: Topology\nmetadata: {name: %s}\nspec: {cubes: []}\n"


def test_a_revision_that_was_refused_is_not_taken_after_a_restart_either(clock: Clock, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    git("init", "--quiet", "--initial-branch=main", cwd=work)

    def commit() -> None:
        git("add", "--all", cwd=work)
        git("commit", "--quiet", "-m", "change", cwd=work)

    def taken(name: str) -> tuple[set[str], str]:
        """What a process with a feed has published when it ends, and its problem."""
        source = GitSource(GitPlace.of(f"file://{work}#main"), tmp_path / "cache", 5.0)
        bench = Bench(clock, tmp_path / name, source, care=Care(prune=True))
        bench.feed.spool = Spool(tmp_path / "spool")
        clock.now = 1000.0
        bench.run(20)
        return set(bench.feed.spool.files()), bench.feed.problem

    for name in "abcd":
        (work / f"{name}.yaml").write_text(TOPOLOGY % name)
    commit()
    (tmp_path / "spool").mkdir()
    everything = {f"{name}.yaml" for name in "abcd"}
    assert taken("first") == (everything, "")
    for name in "abc":
        (work / f"{name}.yaml").unlink()
    commit()
    for process in ("second", "third"):
        files, problem = taken(process)
        assert files == everything
        assert "takes away 3 of 4 topologies" in problem
    git("commit", "--quiet", "--allow-empty", "-m", "all of it\n\npcn-prune: all", cwd=work)
    assert taken("fourth") == ({"d.yaml"}, "")
    assert taken("fifth") == ({"d.yaml"}, "")


def test_a_repository_that_is_away_for_ten_minutes_costs_nothing_and_is_followed_within_ten_seconds(clock: Clock, tmp_path: Path) -> None:
    work, gone = tmp_path / "work", tmp_path / "gone"
    work.mkdir()
    git("init", "--quiet", "--initial-branch=main", cwd=work)

    def commit(text: str, *more: str) -> None:
        (work / "a.yaml").write_text(text)
        git("add", "--all", cwd=work)
        git("commit", "--quiet", "-m", "change", *more, cwd=work)

    commit("1")
    source = GitSource(GitPlace.of(f"file://{work}#main"), tmp_path / "cache", 30.0)
    bench = Bench(clock, tmp_path / "spool", source)
    said: list[tuple[float, str, float]] = []
    tries: list[float] = []
    fetch = source.fetch

    def noted() -> Revision | None:
        tries.append(clock.now - 1000.0)
        return fetch()

    source.fetch = noted  # type: ignore[method-assign]

    def back() -> None:
        gone.rename(work)
        commit("2", "--amend")  # and its history is another one

    clock.at(100, lambda: work.rename(gone))
    for when in (140, 400, 699):
        clock.at(when, lambda: said.append((clock.now, bench.feed.problem, bench.feed._since)))
    clock.at(690, lambda: said.append((0.0, str(bench.feed.spool.files()), 0.0)))
    clock.at(700, back)
    bench.run(720)
    assert next(when for when, _ in bench.log) == 0.0
    assert 700 <= bench.log[1][0] <= 711
    assert bench.feed.spool.files() == {"a.yaml": b"2"}
    assert bench.feed.problem == ""
    files = said.pop(2)
    assert files[1] == "{'a.yaml': b'1'}", "what was published stays"
    assert len({(problem, since) for _, problem, since in said}) == 1, "it is away since when it went, in the same words"
    assert "gone" not in said[0][1]
    assert str(work) in said[0][1]
    failed = [when for when in tries if 130 <= when < 700]
    assert 55 < len(failed) < 80
    assert max(after - before for before, after in itertools.pairwise(failed)) <= 10.2


def test_a_source_with_a_bug_is_asked_again_and_its_words_are_said(clock: Clock, tmp_path: Path) -> None:
    source = Given()
    bench = Bench(clock, tmp_path / "one", source)
    clock.at(5, lambda: setattr(source, "now", 7))
    clock.at(9, lambda: bench.log.append((9.0, bench.feed.problem)))
    clock.at(20, lambda: setattr(source, "now", Revision("2", {"a.yaml": b"2"})))
    bench.run(40)
    assert [each for _, each in bench.log] == ["1", "given here: AttributeError: 'int' object has no attribute 'id'", "2"]
