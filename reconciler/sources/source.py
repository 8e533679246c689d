"""The interface of a source of documents, for feeds."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from reconciler.errors import PcnError


class SourceError(PcnError):
    """The source is unreachable, or its revision is invalid. The last publication stays."""


def is_plain(name: str) -> bool:
    """Whether a file of this name stays inside the directory that it is written to."""
    return bool(name) and not name.startswith(".") and "/" not in name and "\0" not in name


@dataclass(frozen=True, slots=True)
class Revision:
    """`files` are texts by plain names. `prune_all`: it allows the deletion of any number of topologies."""

    id: str
    files: Mapping[str, bytes]
    prune_all: bool = False


class Source(Protocol):
    """`words`: its location, as text; `forgets`: statuses of silent hosts expire. Every method raises SourceError, and is
    called in one thread."""

    name: str
    words: str
    forgets: bool

    def kept(self) -> Revision | None:
        """The revision that an earlier process kept, if it is available locally."""

    def fetch(self) -> Revision | None:
        """The current revision; None if it is the one that was kept last."""

    def keep(self, revision: Revision) -> None:
        """A fetched revision was accepted: `fetch` does not return it again, and after a restart `kept` does."""

    def wait(self, poked: threading.Event, seconds: float) -> bool:
        """Wait until the timeout, `poked`, or a possible new revision. Returns whether there may be one."""

    def report(self, host: str, status: Mapping[str, Any]) -> None:
        """Write a host's status to the source."""

    def statuses(self) -> list[Mapping[str, Any]]:
        """The statuses that hosts reported."""

    def at(self, revision: str) -> Revision:
        """An older revision, by its `id`."""

    def close(self) -> None: ...
