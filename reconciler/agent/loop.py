"""The agent's one event loop: descriptors that can be read, and named timers. No threads, no coroutines.

Callbacks run to their end, one after the other, so that nothing in the agent needs a lock. A callback that fails is logged
and the loop goes on: an agent that ends over a bug would leave the slow paths without anybody.
"""
from __future__ import annotations

import logging
import selectors
import time
from collections.abc import Callable
from typing import Any

Callback = Callable[[], object]
_LONGEST = 3600.0  # seconds without anything to do
log = logging.getLogger("pcn.agent")


class Loop:
    """Times are those of `time.monotonic`, in seconds."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: dict[str, tuple[float, Callback]] = {}
        self.running = False

    def readable(self, fd: Any, callback: Callback) -> None:
        """Call back whenever `fd` (a number, or what has a fileno) can be read."""
        self._selector.register(fd, selectors.EVENT_READ, callback)

    def writable(self, fd: Any, callback: Callback) -> None:
        """From now on wait until `fd`, which was registered, can be written instead."""
        self._selector.modify(fd, selectors.EVENT_WRITE, callback)

    def forget(self, fd: Any) -> None:
        try:
            self._selector.unregister(fd)
        except (KeyError, ValueError):  # never registered, or closed already
            pass

    def at(self, name: str, when: float, callback: Callback) -> None:
        """Call back once at that time. A timer of the same name is replaced."""
        self._timers[name] = (when, callback)

    def after(self, name: str, delay: float, callback: Callback) -> None:
        self.at(name, time.monotonic() + delay, callback)

    def sooner(self, name: str, delay: float, callback: Callback) -> None:
        """As `after`, but a timer of that name that is due earlier stays."""
        when = time.monotonic() + delay
        if name not in self._timers or self._timers[name][0] > when:
            self.at(name, when, callback)

    def run(self) -> None:
        """Until `stop`."""
        self.running = True
        while self.running:
            self.step()

    def stop(self) -> None:
        self.running = False

    def step(self) -> None:
        """Wait for the next thing to happen, and do everything that is due."""
        due = min((when for when, _ in self._timers.values()), default=time.monotonic() + _LONGEST)
        for key, _ in self._selector.select(max(0.0, due - time.monotonic())):
            _guarded(key.data)
        now = time.monotonic()
        for name, (when, callback) in sorted(self._timers.items(), key=lambda item: item[1][0]):
            if when <= now and self._timers.get(name) == (when, callback):
                del self._timers[name]
                _guarded(callback)

    def close(self) -> None:
        self._selector.close()


def _guarded(callback: Callback) -> None:
    try:
        callback()
    except Exception:
        log.exception("a mistake in the agent; it goes on")
