"""Sync now: every feed asks its source, every file is read, and the kernel examined, without waiting for its time.

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

_PAUSE = 0.03  # seconds between two looks at whether the feeds have asked


@dataclass(frozen=True, slots=True)
class Sync:
    """`anew` forgets what is being waited for, reads all files, and ends with a poll that began after it was called."""

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
