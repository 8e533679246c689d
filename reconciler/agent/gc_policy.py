"""When Python's garbage collector runs: after an edit, once the agent is idle, and not during the next edit.

Of a thousand cubes the agent holds a million long-lived objects. A full collection traverses them in 0.2 s, and Python starts one
at any time, possibly while an edit or a slow-path packet is waiting. So long-lived objects are frozen (`gc.freeze`), and only new
ones are collected; during work only above a high threshold.
"""
from __future__ import annotations

import gc

_MUCH = 50_000  # new objects; an edit allocates some thousand, among them tables of 50,000 rows, which are traversed
_MOST = 256  # freezes after which all are unfrozen and traversed: cycles among them are collected then


class GcPolicy:
    """`begin` configures the process. `busy`: work was done; `quiet`: the agent is idle."""

    def __init__(self) -> None:
        self._untidy, self._times = True, 0

    @staticmethod
    def begin() -> None:
        gc.set_threshold(_MUCH, *gc.get_threshold()[1:])

    def busy(self) -> None:
        self._untidy = True

    def quiet(self) -> None:
        if not self._untidy:
            return
        self._untidy, self._times = False, self._times + 1
        if self._times % _MOST == 0:
            gc.unfreeze()
        gc.collect()
        gc.freeze()
