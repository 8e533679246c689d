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
        """The revision that an earlier process read, if it is available locally."""

    def fetch(self) -> Revision | None:
        """What there is now; None: nothing new since the last call."""

    def unread(self) -> None:
        """What was fetched last is not taken: give it again."""

    def wait(self, poked: threading.Event, seconds: float) -> bool:
        """Wait that long, until `poked`, or until there may be something new: whether there may."""

    def report(self, host: str, status: Mapping[str, Any]) -> None:
        """Keep a host's status where the documents are from."""

    def statuses(self) -> list[Mapping[str, Any]]:
        """What hosts have reported."""

    def at(self, revision: str) -> Revision:
        """An older revision."""

    def close(self) -> None: ...
