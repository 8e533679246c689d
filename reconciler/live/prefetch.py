"""Prefetch of program loads: a thread loads them ahead of their steps.

The verifier takes a millisecond for a small program and 30 for a large one, and the GIL is released meanwhile. Loading has no
effect: until its own step pins it a program is invisible to others, and unused ones are closed. So the order of the steps,
their effects, and the rollback are the same as without the thread.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from reconciler.live.load import Loaded, load_cube
from reconciler.plan.operations import LoadProgram, Operation

WORTH = 16  # programs; of fewer the first ones would be all that is saved
_PAUSE = 0.003  # seconds
_WINDOW = 16  # of the programs that come next; the thread takes the last that it can, so that nobody waits for it


class Prefetcher:
    """`operations` are those that will be requested, in order. `fds` has what is open by path, and grows meanwhile: a program can
    be loaded once all its tables are in it. `objects` are the compiled ones by digest."""

    def __init__(self, operations: Iterable[Operation], fds: Mapping[str, int], objects: Mapping[str, Any]) -> None:
        self._left = {each.path: each for each in operations if isinstance(each, LoadProgram)}
        self._fds, self._objects = fds, objects
        self._done: dict[str, Loaded] = {}
        self._busy = ""
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        if len(self._left) >= WORTH and len(os.sched_getaffinity(0)) > 1:
            thread = threading.Thread(target=self._run, name="loads ahead", daemon=True)
            with contextlib.suppress(RuntimeError):  # no more threads may be: then there is none
                thread.start()
                self._thread = thread

    def take(self, path: str) -> Loaded | None:
        """What has been loaded for a path; it is the caller's now. None: the caller has to load it."""
        if self._thread is None:
            return None
        with self._changed:
            self._left.pop(path, None)
            while self._busy == path:
                self._changed.wait()
            return self._done.pop(path, None)

    def close(self) -> None:
        """End the thread, and close unused programs."""
        with self._changed:
            self._left.clear()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        while self._done:
            self._done.popitem()[1].close()

    def _run(self) -> None:
        while (found := self._next()) is not None:
            program, tables = found
            loaded = None
            try:
                loaded = load_cube(self._objects[program.object], tables, program.constants, program.name)
            except Exception:  # noqa: BLE001, S110 - whoever asks for it tries again, and can say at which step it fails
                pass
            with self._changed:
                if loaded is not None:
                    self._done[self._busy] = loaded
                self._busy = ""
                self._changed.notify_all()

    def _next(self) -> tuple[LoadProgram, Mapping[str, int]] | None:
        """What is to be loaded next, and the descriptors of its tables; waits for one. None: there will be none."""
        with self._changed:
            while self._left:
                for path in reversed(list(islice(self._left, _WINDOW))):
                    program = self._left[path]
                    tables = {symbol: self._fds.get(pin or program.calls, -1) for symbol, pin in program.maps.items()}
                    if -1 not in tables.values():
                        self._busy = path
                        del self._left[path]
                        return program, tables
                self._changed.wait(_PAUSE)  # nobody says that a table is there
            return None
