"""Schedules polls of the kernel: one at a time, and another one if an event arrived meanwhile."""
from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection

from reconciler.agent.loop import Loop


class Polls:
    """`poll` reads the kernel, given the netdevs that moved, and returns the seconds until the next; `usual` is the delay if it
    fails. `done` is called after the last of consecutive polls. `moved`: netdevs that no poll has considered."""

    def __init__(
        self, loop: Loop, poll: Callable[[Collection[str]], Awaitable[float]], done: Callable[[], None], usual: float
    ) -> None:
        self._loop, self._poll, self._done, self._usual = loop, poll, done, usual
        self.moved: set[str] = set()
        self._running = False
        self._again = False
        self._waiting: list[asyncio.Event] = []  # set once a poll that began later has ended, or its edit is in force
        self._waiting_for_this: list[asyncio.Event] = []
        self._under_way: asyncio.Event | None = None  # set once the current poll has ended

    async def now(self) -> None:
        """Poll now, or as soon as the current poll is done."""
        self._again = True
        if self._running:
            return
        self._running, pause = True, self._usual
        try:
            while self._again:
                self._again, moved, self.moved = False, self.moved, set()
                self._waiting_for_this, self._waiting, self._under_way = self._waiting, [], asyncio.Event()
                try:
                    pause = await self._poll(moved)
                finally:
                    self.in_force()
                    self._under_way.set()
        finally:
            self._running, self._under_way = False, None
            self._loop.after("kernel poll", pause, self.now)
        self._done()

    def in_force(self) -> None:
        """The edit of the current poll is in force: nobody has to wait for the rest."""
        for event in self._waiting_for_this:
            event.set()

    async def fresh(self, moved: Collection[str] = ()) -> None:
        """Returns after a poll that began after the call, or once its edit is in force; also if it fails. `moved`: netdevs that
        may have changed."""
        self.moved |= set(moved)
        event = asyncio.Event()
        self._waiting.append(event)
        self._loop.start(self.now())
        await event.wait()

    async def ended(self) -> None:
        """Returns after the current poll; at once if there is none."""
        if self._under_way is not None:
            await self._under_way.wait()
