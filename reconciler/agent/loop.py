"""The agent's event loop: asyncio's, with named timers, and one job thread for long work.

Reading files, planning and applying run on that thread, in sequence, so they need no locks; signals, supervision of slow paths,
status and metrics are served meanwhile. An exception in a callback is logged and the loop continues: an agent that exits over a
bug would stop the slow paths.
"""
from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

Callback = Callable[[], object]
T = TypeVar("T")
log = logging.getLogger("pcn.agent")


class Loop:
    """Times are those of `time.monotonic`, in seconds. A coroutine returned by a callback is run as a task."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(_report)
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._thread = ThreadPoolExecutor(1, "pcn-reconcile")

    def readable(self, fd: Any, callback: Callback) -> None:
        """Call back whenever `fd` (a number, or an object with fileno) is readable."""
        self._loop.add_reader(fd, self._guarded, callback)

    def writable(self, fd: Any, callback: Callback) -> None:
        """From now on wait until `fd`, registered before, is writable instead."""
        self._loop.remove_reader(fd)
        self._loop.add_writer(fd, self._guarded, callback)

    def forget(self, fd: Any) -> None:
        try:
            self._loop.remove_reader(fd)
            self._loop.remove_writer(fd)
        except ValueError:  # closed already
            pass

    def on_signal(self, number: int, callback: Callback) -> None:
        self._loop.add_signal_handler(number, self._guarded, callback)

    def at(self, name: str, when: float, callback: Callback) -> None:
        """Call back once at that time. Replaces a timer of the same name."""
        self._drop(name)
        self._timers[name] = self._loop.call_at(when, self._due, name, callback)

    def after(self, name: str, delay: float, callback: Callback) -> None:
        self.at(name, time.monotonic() + delay, callback)

    def sooner(self, name: str, delay: float, callback: Callback) -> None:
        """As `after`, but an earlier timer of that name is kept."""
        when = time.monotonic() + delay
        if name not in self._timers or self._timers[name].when() > when:
            self.at(name, when, callback)

    def start(self, work: Coroutine[Any, Any, object]) -> None:
        """Run a coroutine as a task."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def from_thread(self, callback: Callback) -> None:
        """Call back soon. Thread-safe."""
        self._loop.call_soon_threadsafe(self._guarded, callback)

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run `work` on the job thread, after the work queued before."""
        return await self._loop.run_in_executor(self._thread, work)

    def run(self) -> None:
        """Run until `stop`."""
        self._loop.run_forever()

    def run_until(self, work: Coroutine[Any, Any, T]) -> T:
        """Run until this coroutine is done."""
        return self._loop.run_until_complete(work)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)

    def close(self) -> None:
        """Wait for the job thread, and cancel the rest."""
        for name in list(self._timers):
            self._drop(name)
        self._thread.shutdown(cancel_futures=True)
        if self._tasks:
            for task in self._tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.wait(self._tasks))
        self._loop.close()

    def _drop(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()

    def _due(self, name: str, callback: Callback) -> None:
        del self._timers[name]
        self._guarded(callback)

    def _guarded(self, callback: Callback) -> None:
        try:
            given = callback()
            if asyncio.iscoroutine(given):
                self.start(given)
        except Exception:
            log.exception("a mistake in the agent; it goes on")

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a mistake in the agent; it goes on", exc_info=error)


def _report(_: object, context: dict[str, Any]) -> None:
    """asyncio's exception handler."""
    log.error("a mistake in the agent; it goes on: %s", context.get("message", ""), exc_info=context.get("exception"))
