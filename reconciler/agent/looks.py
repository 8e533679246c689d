"""When the agent polls the kernel: one poll at a time, and another one if something happened meanwhile."""
from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection

from reconciler.agent.loop import Loop


class Looks:
    """`look` does one, is informed which netdevs moved, and returns the seconds until the next; `usual` are they if it fails.
    `done` is called after the last of a row. `moved` are netdevs that no poll knows of."""

    def __init__(
        self, loop: Loop, look: Callable[[Collection[str]], Awaitable[float]], done: Callable[[], None], usual: float
    ) -> None:
        self._loop, self._look, self._done, self._usual = loop, look, done, usual
        self.moved: set[str] = set()
        self._running = False
        self._again = False
        self._waiting: list[asyncio.Event] = []  # set when a look has ended that began later, or what it applied is in force
        self._waiting_for_this: list[asyncio.Event] = []
        self._under_way: asyncio.Event | None = None  # set when the look that is under way has ended

    async def now(self) -> None:
        """Look, now or as soon as the poll that is in progress is done."""
        self._again = True
        if self._running:
            return
        self._running, pause = True, self._usual
        try:
            while self._again:
                self._again, moved, self.moved = False, self.moved, set()
                self._waiting_for_this, self._waiting, self._under_way = self._waiting, [], asyncio.Event()
                try:
                    pause = await self._look(moved)
                finally:
                    self.in_force()
                    self._under_way.set()
        finally:
            self._running, self._under_way = False, None
            self._loop.after("look", pause, self.now)
        self._done()

    def in_force(self) -> None:
        """What the look that is under way applied is in force: what it does yet, nobody has to wait for."""
        for event in self._waiting_for_this:
            event.set()

    async def anew(self, moved: Collection[str] = ()) -> None:
        """Ends with a poll that began after this was called, or once what that applied is in force; without one if it fails.
        `moved`: netdevs that may have."""
        self.moved |= set(moved)
        event = asyncio.Event()
        self._waiting.append(event)
        self._loop.start(self.now())
        await event.wait()

    async def ended(self) -> None:
        """Ends with the poll that is in progress; at once if there is none."""
        if self._under_way is not None:
            await self._under_way.wait()
