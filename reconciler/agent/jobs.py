"""The job thread, the only one to touch files and controller; and the status while it is busy."""
from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

from reconciler.agent.loop import Loop

STUCK = 120.0  # seconds without progress in the thread, after which systemd's watchdog shall restart the agent
T = TypeVar("T")


class Jobs:
    """`read` returns the status; called on the thread, or while it is idle."""

    def __init__(self, loop: Loop, read: Callable[[], dict[str, Any]]) -> None:
        self._loop, self._read = loop, read
        self._busy = 0  # jobs running or queued
        self._awaited = 0  # of these, those that a source waits for
        self._progress = 0.0  # time of the thread's last progress
        self._before: dict[str, Any] = {}  # the status before the running job

    async def do(self, work: Callable[[], T]) -> T:
        """Run a job on the thread, after those queued before."""
        if self._busy:
            work = partial(self._after_another, work)
        else:
            self._before = self._read()
        self._busy += 1
        self.gets_on()
        try:
            return await self._loop.in_thread(work)
        finally:
            self._busy -= 1

    async def do_awaited(self, work: Callable[[], T]) -> T:
        """A job that a source waits for."""
        with self.awaited():
            return await self.do(work)

    @contextlib.contextmanager
    def awaited(self) -> Iterator[None]:
        """Within it a source waits: a poll that finds nothing new yields to it."""
        self._awaited += 1
        try:
            yield
        finally:
            self._awaited -= 1

    @property
    def is_awaited(self) -> bool:
        return self._awaited > 0

    def in_force(self) -> None:
        """On the thread: publish the present status, though the job is not over."""
        self._before = self._read()

    def _after_another(self, work: Callable[[], T]) -> T:
        """On the thread: with jobs in a row, the status has to follow each of them."""
        self._before = self._read()
        return work()

    def status(self) -> dict[str, Any]:
        """The present status; while a job runs, the one before it or since its edit was in force."""
        return self._before if self._busy else self._read()

    def gets_on(self, *_: object) -> None:
        self._progress = time.monotonic()

    @property
    def hangs(self) -> bool:
        return bool(self._busy) and time.monotonic() - self._progress >= STUCK
