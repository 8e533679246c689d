"""GET /events: what happens, as server-sent events. Each listener has a queue; one that does not read loses the oldest.

    write      a request that writes: who, method, path, status        apply, failed   what came of the apply
    topology   the applied documents are others than before: name and revision
    agent      what the agent says, when it changes: healthy, problems, drift, pending, waiting, last
    counters   what the cubes dropped and the ports carried, every few seconds
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

_QUEUE = 256
_ALIVE = 15.0  # seconds without an event, after which a comment says that the connection stands
MOST_LISTENERS = 64


class Hub:
    """Who listens, and what they are told. In the loop's thread only; `tell_from` is for others."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[str | None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._count = 0

    @property
    def listeners(self) -> int:
        return len(self._queues)

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()

    def tell(self, event: str, data: Mapping[str, Any]) -> None:
        self._count += 1
        words = f"id: {self._count}\nevent: {event}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"
        for queue in self._queues:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(words)

    def tell_from_thread(self, event: str, data: Mapping[str, Any]) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.tell, event, data)

    def close(self) -> None:
        """End all streams."""
        for queue in self._queues:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(None)

    async def listen(self) -> AsyncIterator[str]:
        if len(self._queues) >= MOST_LISTENERS:
            yield "event: busy\ndata: {}\n\n"
            return
        queue: asyncio.Queue[str | None] = asyncio.Queue(_QUEUE)
        self._queues.add(queue)
        try:
            yield "retry: 2000\n\n"
            while True:
                try:
                    words = await asyncio.wait_for(queue.get(), _ALIVE)
                except TimeoutError:
                    words = ": alive\n\n"
                if words is None:
                    return
                yield words
        finally:
            self._queues.discard(queue)


Question = Callable[[], Any]


async def watch(hub: Hub, ask: Callable[[Question], Any], questions: Mapping[str, Question], every: float) -> None:
    """While somebody listens, ask again and again (in the store's thread), and tell what is another answer than before."""
    before: dict[str, Any] = {}
    while True:
        await asyncio.sleep(every)
        if not hub.listeners:
            before.clear()
            continue
        for event, question in questions.items():
            answer = await ask(question)
            if answer != before.get(event):
                before[event] = answer
                hub.tell(event, {"at": answer})
