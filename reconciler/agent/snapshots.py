"""Snapshots of the kernel that the controller reuses: for an edit only the cubes concerned are read again."""
from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from reconciler.engine.options import Options
from reconciler.engine.unchanged import UnchangedCheck
from reconciler.graph.records import Live

IN_A_ROW = 1.0  # seconds within which a burst of netdevs or edits is applied before a full poll


@contextlib.contextmanager
def giving_way(options: Options, is_awaited: Callable[[], bool]) -> Iterator[None]:
    """Within it reads are speculative, and stop as soon as a client waits. Raises Overtaken."""
    memory = options.kept.memory
    memory.gives_way = is_awaited
    try:
        yield
    finally:
        memory.gives_way = None


@dataclass(slots=True)
class Snapshots:
    """`unchanged` compares the kernel with the last poll in sync; `verified`: the state that the last edit was verified with, and
    the time of the last full read."""

    unchanged: UnchangedCheck | None = None
    verified: tuple[float, Live | None] = 0.0, None
    _of_edit: UnchangedCheck | None = None

    def edited(self) -> None:
        """The desired set changed: the last poll is valid for one edit."""
        self._of_edit, self.unchanged = self.unchanged, None

    def taken(self, now: float, *, connects: bool) -> tuple[float, Live | None]:
        """Take the reusable snapshot, which is then invalid, and the time of the last full read. In a burst of netdevs
        (`connects`) or edits it is that of the last full poll, or the state verified by the previous edit."""
        edited, self._of_edit = self._of_edit, None
        calm, self.unchanged = self.unchanged, None
        (since, verified), self.verified = self.verified, (now, None)
        if connects and calm is not None:
            return now, calm.last()
        if not connects and edited is not None:
            return now, edited.recent()
        return (since, verified) if now - since <= IN_A_ROW else (now, None)
