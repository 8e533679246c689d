"""GET /events: server-sent events. Each listener has a bounded queue; a slow one loses the oldest events.

    write      a write request: who, method, path, status               apply, failed   the result of the apply
    plan       a write with ?plan: the same, and its plan
    log        lines of the cubes' log, if requested (cube_log)
    graph      the graph of the page: cubes, ports, netdevs, chains     drift    the result of `pcn drift`, as data
    topology   the applied documents changed: name and revision
    agent      the agent's status, when it changes: healthy, problems, drift, pending, waiting, last
    counters   packets that cubes dropped and ports carried, every few seconds
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from typing import Any

_QUEUE = 256
_ALIVE = 15.0  # seconds without an event, after which a comment keeps the connection alive
MOST_LISTENERS = 64


class Hub:
    """Publishes events to listeners. On the loop's thread only; `tell_from_thread` is for others."""

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
        """Whether any listener requested the cubes' log. Thread-safe."""
        return not self._is_closed and any(tuple(self._queues.values()))

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()

    def tell_state(self, event: str, data: Mapping[str, Any]) -> None:
        """Publish a state: later listeners receive the last one."""
        self._latest[event] = self.tell(event, data)

    async def news(self, seconds: float) -> None:
        """Wait until another thread publishes an event (`tell_from_thread`), `seconds` at most."""
        self._done.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._done.wait(), seconds)

    async def somebody(self) -> None:
        """Forget the stored states, and wait for a listener."""
        self._latest.clear()
        self._came.clear()
        await self._came.wait()

    async def somebody_for_log(self) -> None:
        """Wait for a listener that requested the cubes' log."""
        while not self.wants_log:
            self._came_for_log.clear()
            await self._came_for_log.wait()

    def tell(self, event: str, data: Mapping[str, Any], *, log: bool = False) -> str:
        """Publish an event. `log`: only to listeners that requested the cubes' log."""
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
    """While there are listeners, poll these questions on the store's thread, and publish answers that changed. Pauses last at
    least four times as long as the answers took, so that writers wait little."""
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
