"""What is loaded ahead is what would have been loaded, and nothing of it is left if it was not wanted."""
from __future__ import annotations

import os
import threading
import time

import pytest

from reconciler.live import prefetch
from reconciler.live.load import Loaded
from reconciler.live.prefetch import WORTH, Prefetcher
from reconciler.plan.operations import LoadProgram


def operations(count: int) -> list[LoadProgram]:
    return [
        LoadProgram(f"p{n}", "o", b"", {"a": f"m{n}"}, f"calls{n}", 0, f"c{n}")
        for n in range(count)
    ]


def open_fds() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def loaded(monkeypatch):
    """The names of what was loaded, by the thread that did."""
    found: dict[str, str] = {}

    def load(compiled: object, tables: dict[str, int], constants: bytes, name: str) -> Loaded:
        if compiled == "bad":
            raise ValueError(name)
        assert tables == {"a": 10}
        found[name] = threading.current_thread().name
        return Loaded(os.open("/dev/null", os.O_RDONLY), -1)

    monkeypatch.setattr(prefetch, "load_cube", load)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    return found


def test_each_is_loaded_once_and_taken_by_whoever_asks(loaded):
    before, some = open_fds(), operations(60)
    fds = {f"m{n}": 10 for n in range(60)}
    made = Prefetcher(some, fds, {"o": object()})
    deadline = time.monotonic() + 5
    while len(loaded) < 5 and time.monotonic() < deadline:
        time.sleep(0.001)
    taken = [made.take(each.path) for each in some]
    made.close()
    found = [each for each in taken if each is not None]
    assert len(found) == len(loaded) >= 5
    assert len({each.program for each in found}) == len(found)
    assert set(loaded.values()) <= {"loads ahead"}
    for each in found:
        each.close()
    assert open_fds() == before


def test_what_nobody_takes_is_closed_and_the_thread_ends(loaded):
    before = open_fds()
    made = Prefetcher(operations(40), {f"m{n}": 10 for n in range(40)}, {"o": object()})
    first = made.take("p0")
    made.close()
    if first is not None:
        first.close()
    assert made.take("p7") is None
    assert open_fds() == before
    assert not [thread for thread in threading.enumerate() if thread.name == "loads ahead"]


def test_a_program_waits_for_its_tables_and_what_fails_is_left_to_whoever_asks(loaded):
    fds: dict[str, int] = {}
    made = Prefetcher(operations(40), fds, {"o": "bad"})
    assert [made.take(f"p{n}") for n in range(3)] == [None] * 3
    fds |= {f"m{n}": 10 for n in range(40)}
    assert [made.take(f"p{n}") for n in range(40)] == [None] * 40
    made.close()
    assert not loaded


def test_where_no_more_threads_may_be_there_is_none(loaded, monkeypatch):
    def refuse(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    made = Prefetcher(operations(WORTH), {}, {"o": object()})
    assert made.take("p0") is None
    made.close()


@pytest.mark.parametrize(("count", "cpus"), [(WORTH - 1, {0, 1}), (WORTH, {0})])
def test_for_few_programs_and_on_one_cpu_there_is_no_thread(loaded, monkeypatch, count, cpus):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: cpus)
    made = Prefetcher(operations(count), {f"m{n}": 10 for n in range(count)}, {"o": object()})
    assert not [thread for thread in threading.enumerate() if thread.name == "loads ahead"]
    assert made.take("p0") is None
    made.close()
