"""GET /events: what happens, as server-sent events. Each listener has a queue; one that does not read loses the oldest.

    write      a request that writes: who, method, path, status        apply, failed   what came of the apply
    plan       a write whose plan was requested: the same, and what it would do
    log        what the cubes log, for who requested it (cube_log)
    graph      what the page draws: cubes, ports, netdevs, chains     drift    what `pcn drift` says, as data
    topology   the applied documents are others than before: name and revision
    agent      what the agent reports, when it changes: healthy, problems, drift, pending, waiting, last
    counters   what the cubes dropped and the ports carried, every few seconds
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from typing import Any

_QUEUE = 256
_ALIVE = 15.0  # seconds without an event, after which a comment says that the connection stands
MOST_LISTENERS = 64


class Hub:
    """Who listens, and what they are told. In the loop's thread only; `tell_from` is for others."""

    def __init__(self) -> None:
        self._queues: dict[asyncio.Queue[str | None], bool] = {}
        self._latest: dict[str, str] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._count = 0
        self._came, self._came_for_log, self._done = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._is_closed = False

    @property
    def listeners(self) -> int:
        return len(self._queues)

    @property
    def wants_log(self) -> bool:
        """Whether anybody listens to the cubes' log, too. For any thread."""
        return not self._is_closed and any(tuple(self._queues.values()))

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()

    def tell_state(self, event: str, data: Mapping[str, Any]) -> None:
        """How something is now: who joins later is told, too."""
        self._latest[event] = self.tell(event, data)

    async def news(self, seconds: float) -> None:
        """Wait, but not longer than until something is done here."""
        self._done.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._done.wait(), seconds)

    async def somebody(self) -> None:
        """Wait until somebody listens. What was told before is forgotten."""
        self._latest.clear()
        self._came.clear()
        await self._came.wait()

    async def somebody_for_log(self) -> None:
        """Wait until somebody listens to the cubes' log."""
        while not self.wants_log:
            self._came_for_log.clear()
            await self._came_for_log.wait()

    def tell(self, event: str, data: Mapping[str, Any], *, log: bool = False) -> str:
        """`log`: only those who requested the cubes' log."""
        self._count += 1
        words = f"id: {self._count}\nevent: {event}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"
        for queue, with_log in self._queues.items():
            if log and not with_log:
                continue
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(words)
        return words

    def tell_from_thread(self, event: str, data: Mapping[str, Any]) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.tell, event, data)
            self._loop.call_soon_threadsafe(self._done.set)

    def close(self) -> None:
        """End all streams."""
        self._is_closed = True
        for queue in self._queues:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(None)

    async def listen(self, *, log: bool = False) -> AsyncIterator[str]:
        if len(self._queues) >= MOST_LISTENERS:
            yield "event: busy\ndata: {}\n\n"
            return
        queue: asyncio.Queue[str | None] = asyncio.Queue(_QUEUE)
        self._queues[queue] = log
        self._came.set()
        if log:
            self._came_for_log.set()
        try:
            yield "retry: 2000\n\n" + "".join(self._latest.values())
            while True:
                try:
                    words = await asyncio.wait_for(queue.get(), _ALIVE)
                except TimeoutError:
                    words = ": alive\n\n"
                if words is None:
                    return
                yield words
        finally:
            self._queues.pop(queue, None)


Question = Callable[[], Any]


async def watch(hub: Hub, ask: Callable[[Question], Any], questions: Mapping[str, Question], every: float) -> None:
    """While somebody listens, ask again and again (in the store's thread), and tell what is another answer than before.
    Pauses are at least four times as long as the answers took, so that whoever writes meanwhile waits little."""
    before: dict[str, Any] = {}
    while True:
        if not hub.listeners:
            before.clear()
            await hub.somebody()
        began = time.monotonic()
        for event, question in questions.items():
            answer = await ask(question)
            if answer != before.get(event):
                before[event] = answer
                hub.tell_state(event, {"at": answer})
        await hub.news(max(every, 4 * (time.monotonic() - began)))
