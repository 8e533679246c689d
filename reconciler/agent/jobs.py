"""Jobs in the agent's one thread, in which alone files and controller are touched, and the status meanwhile."""
from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

from reconciler.agent.loop import Loop

STUCK = 120.0  # seconds without progress in the thread, after which systemd shall think that the agent hangs
T = TypeVar("T")


class Jobs:
    """`read` gives the status, and may be called only while the thread is idle, or in it."""

    def __init__(self, loop: Loop, read: Callable[[], dict[str, Any]]) -> None:
        self._loop, self._read = loop, read
        self._busy = 0  # jobs that the thread has, or waits for
        self._awaited = 0  # of these, those for which a source waits
        self._progress = 0.0  # when the thread last got on
        self._before: dict[str, Any] = {}  # the status as it was before the thread began

    async def do(self, work: Callable[[], T]) -> T:
        """Have something done in the thread, after what it was given before."""
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
        """A job for which a source waits."""
        with self.awaited():
            return await self.do(work)

    @contextlib.contextmanager
    def awaited(self) -> Iterator[None]:
        """Meanwhile a source waits: a poll that finds nothing new for anybody yields for it."""
        self._awaited += 1
        try:
            yield
        finally:
            self._awaited -= 1

    @property
    def is_awaited(self) -> bool:
        return self._awaited > 0

    def in_force(self) -> None:
        """In the thread: whoever is answered from now on has the status of now, though the job is not over."""
        self._before = self._read()

    def _after_another(self, work: Callable[[], T]) -> T:
        """In the thread: with one job after the other, the status has to follow what each of them did."""
        self._before = self._read()
        return work()

    def status(self) -> dict[str, Any]:
        """How it is now; while the thread is at work, how it was when that began, or when what it did was in force."""
        return self._before if self._busy else self._read()

    def gets_on(self, *_: object) -> None:
        self._progress = time.monotonic()

    @property
    def hangs(self) -> bool:
        return bool(self._busy) and time.monotonic() - self._progress >= STUCK
