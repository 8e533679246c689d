"""Topologies with a probe: kept only if something is still reachable once they are in force (document/trial).

Each is applied at once. If its probe fails until the deadline, it is replaced by the version applied before, or removed if there
was none, until the document changes. A restarted agent has no record of it: what is in force stays, and the rest is tried again.
"""

from __future__ import annotations

import hashlib
import logging
import socket
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

from reconciler.agent.files import DesiredDocuments
from reconciler.document import Document
from reconciler.document.trial import Terms, terms
from reconciler.live.applied import name_of

PATIENCE = 0.2  # seconds for one attempt to reach a probe
log = logging.getLogger("pcn.agent")


@dataclass(frozen=True, slots=True)
class Trial:
    """`before` replaces it if it fails; `until` in `time.monotonic`."""

    document: Document
    before: Document | None
    terms: Terms
    until: float


def reaches(probe: tuple[str, int]) -> bool:
    try:
        socket.create_connection(probe, PATIENCE).close()
    except OSError:
        return False
    return True


@dataclass(slots=True)
class Trials:
    """Keyed by topology name."""

    running: dict[str, Trial] = field(default_factory=dict)
    failed: dict[str, Trial] = field(default_factory=dict)
    reaches: Callable[[tuple[str, int]], bool] = reaches

    def begin(self, applied: Collection[Document], good: Collection[Document], before: Callable[[str], Document | None]) -> None:
        """These were just applied in place of what was `before`; those in `good` need no trial."""
        known = {name: document.data for document in good if (name := name_of(document))}
        for document in applied:
            name, asked = name_of(document), terms(document)
            if name and asked and known.get(name) != document.data:
                old = self.running[name].before if name in self.running else before(name)
                self.running[name] = Trial(document, old, asked, time.monotonic() + asked.seconds)
                log.info("topology %s is on trial for %g s: %s must be reached", name, asked.seconds, asked.place)

    def settle(self) -> bool:
        """Run the probes; returns whether one has failed."""
        some = False
        for name, trial in list(self.running.items()):
            if self.reaches(trial.terms.probe):
                del self.running[name]
                log.info("topology %s is kept: %s was reached", name, trial.terms.place)
            elif time.monotonic() > trial.until:
                del self.running[name]
                self.failed[name], some = trial, True
                log.error("%s", _words(name, trial))
        return some

    def allowed(self, desired: DesiredDocuments) -> DesiredDocuments:
        """The desired set with the failed topologies replaced by the versions before. Failures of documents that changed are
        forgotten."""
        for known in (self.running, self.failed):
            for name, trial in list(known.items()):
                if not any(_same(trial.document, each) for each in desired.documents):
                    del known[name]
        if not self.failed:
            return desired
        documents, taken = [], []
        for document in desired.documents:
            name = name_of(document) or ""
            if name not in self.failed:
                documents.append(document)
                continue
            taken.append(name)
            if (before := self.failed[name].before) is not None:
                documents.append(before)
        gone = frozenset(name for name in taken if self.failed[name].before is None)
        digest = hashlib.sha256("\0".join([desired.digest, *sorted(taken)]).encode()).hexdigest()
        return replace(desired, documents=tuple(documents), topologies=desired.topologies - gone, digest=digest)

    def gone(self) -> frozenset[str]:
        """Topologies to remove, since they failed and had no version before."""
        return frozenset(name for name, trial in self.failed.items() if trial.before is None)

    def problems(self) -> list[str]:
        return [self.words(name) for name in sorted(self.failed)]

    def words(self, name: str) -> str:
        """Why a topology has failed."""
        return _words(name, self.failed[name])


def _same(one: Document, other: Document) -> bool:
    return name_of(one) == name_of(other) and bool(one.data == other.data)


def _words(name: str, trial: Trial) -> str:
    back = "as it was before" if trial.before is not None else "not there, as before"
    return f"topology {name} is {back}: with it, {trial.terms.place} was not reached within {trial.terms.seconds:g} s"
