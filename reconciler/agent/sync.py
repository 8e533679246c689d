"""Sync now: every feed fetches, every file is read, and the kernel polled, without waiting for the interval.

    POST /sync    {"wait": 30}    ->    {"healthy", "problems", "feeds": [{"source", "revision", "problem", "since"}]}
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reconciler.agent.sources import wait_of
from reconciler.sources.feed import Feed

_PAUSE = 0.03  # seconds between checks whether the feeds have fetched


@dataclass(frozen=True, slots=True)
class Sync:
    """`anew` resets backoff, reads all files, and returns after a poll that began after the call."""

    feeds: Sequence[Feed]
    anew: Callable[[], Awaitable[None]]
    status: Callable[[], Mapping[str, Any]]

    async def __call__(self, said: Any) -> dict[str, Any]:
        deadline = time.monotonic() + wait_of(said)
        before = [feed.turns for feed in self.feeds]
        for feed in self.feeds:
            feed.sync()
        while any(feed.turns == old for feed, old in zip(self.feeds, before, strict=True)):
            await asyncio.sleep(_PAUSE)
            if time.monotonic() > deadline:
                break
        await self.anew()
        found = self.status()
        return {name: found[name] for name in ("healthy", "problems", "feeds")}
