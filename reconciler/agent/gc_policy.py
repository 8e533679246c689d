"""GC policy, when the collector of cycles runs: after an edit, once all is quiet, and not in the middle of the next one.

What an agent knows of a thousand cubes are a million objects that stay. A full collection examines all of them and takes
0.2 s, and Python begins one whenever enough is new: as likely as not while an edit, or a packet of a slow path, is waited
for. So what has stayed is set aside, and only what is new is examined, in the middle of work when that is very much.
"""
from __future__ import annotations

import gc

_MUCH = 50_000  # new objects; an edit makes some thousand, among them tables of 50,000 rows, which are looked through
_MOST = 256  # times that something is set aside before all of it is looked at again: what became a cycle there goes then


class GcPolicy:
    """`begin` is for the entire process. `busy` says that there is something to do, `quiet` that there is nothing."""

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
