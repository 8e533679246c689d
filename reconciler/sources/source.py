"""What a feed asks of a place that documents originate from."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from reconciler.errors import PcnError


class SourceError(PcnError):
    """The source is away, or gives what may not be used. What was published last stays."""


def is_plain(name: str) -> bool:
    """Whether a file of this name stands in the directory that it is put into."""
    return bool(name) and not name.startswith(".") and "/" not in name and "\0" not in name


@dataclass(frozen=True, slots=True)
class Revision:
    """`files` are texts by plain names. `prune_all`: it says itself that topologies may go, however many."""

    id: str
    files: Mapping[str, bytes]
    prune_all: bool = False


class Source(Protocol):
    """`words` say where it is; `forgets`: it does not keep what silent hosts have said. Every method raises SourceError, and is
    called in one thread."""

    name: str
    words: str
    forgets: bool

    def kept(self) -> Revision | None:
        """What was read in an earlier life, if that is known without asking anybody."""

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
