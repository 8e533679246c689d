"""What the controller knows of the kernel before it looks: enough for an edit that only some cubes are read for."""
from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from reconciler.engine.options import Options
from reconciler.engine.unchanged import UnchangedCheck
from reconciler.graph.records import Live

IN_A_ROW = 1.0  # seconds for which netdevs, or edits, that come one after another are applied before everything is looked at


@contextlib.contextmanager
def giving_way(options: Options, is_awaited: Callable[[], bool]) -> Iterator[None]:
    """What is read meanwhile is read for nobody, and ends as soon as somebody waits. Raises Overtaken."""
    memory = options.kept.memory
    memory.gives_way = is_awaited
    try:
        yield
    finally:
        memory.gives_way = None


@dataclass(slots=True)
class Known:
    """`unchanged` compares the kernel with the last poll that found all well; `verified` is what the last edit was verified with,
    and when everything was last read."""

    unchanged: UnchangedCheck | None = None
    verified: tuple[float, Live | None] = 0.0, None
    _of_edit: UnchangedCheck | None = None

    def edited(self) -> None:
        """The files declare something else: the last poll is good for one edit."""
        self._of_edit, self.unchanged = self.unchanged, None

    def taken(self, now: float, *, connects: bool) -> tuple[float, Live | None]:
        """What is known of the kernel, and will do, from here on only once; and when all of it was last read. While netdevs come
        (`connects`), or edits, it is what the last full poll read, or else what was verified when the last of them was
        applied."""
        edited, self._of_edit = self._of_edit, None
        calm, self.unchanged = self.unchanged, None
        (since, verified), self.verified = self.verified, (now, None)
        if connects and calm is not None:
            return now, calm.last()
        if not connects and edited is not None:
            return now, edited.recent()
        return (since, verified) if now - since <= IN_A_ROW else (now, None)
