"""The thread that synchronises a directory with its source. Whatever happens to the source, the last publication stays."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from reconciler.document.hosts import Host
from reconciler.errors import PcnError
from reconciler.sources.guard import too_much
from reconciler.sources.source import Revision, Source
from reconciler.sources.spool import Spool

LOOK = 1.0  # seconds between checks whether the status has changed
HEARTBEAT = 20.0  # seconds after which an unchanged status is reported again
AGAIN, LAST = 0.5, 10.0  # seconds before the first retry, and at most between two
log = logging.getLogger("pcn.feed")


@dataclass(frozen=True, slots=True)
class Care:
    """How a host treats revisions. `spread`: seconds over which hosts apply a revision; `prune`: topologies that the source no
    longer has are deleted; `reports`: the host's status is written to the source."""

    spread: float = 0.0
    prune: bool = False
    reports: bool = False


class Feed:
    """One source. `published` is called in the thread after the directory was replaced; `status` returns the agent's."""

    def __init__(
        self, source: Source, spool: Spool, host: Host, care: Care, published: Callable[[], object],
        status: Callable[[], Mapping[str, Any] | None],
    ) -> None:
        self._source, self.spool, self._host, self._care = source, spool, host, care
        self._published, self._status = published, status
        self.revision, self.problem, self._since = "", "", 0.0
        self._digests: dict[str, str] = {}  # of what is published, by path
        self.turns = 0  # outcomes so far, failures too: a sync waits for the next one
        self._poked, self._stopping = threading.Event(), threading.Event()
        self._reported: tuple[Any, float] = (None, 0.0)
        self._unreported = False
        self._thread = threading.Thread(target=self._run, name=f"pcn-{source.name}", daemon=True)

    @property
    def directory(self) -> str:
        return str(self.spool.directory)

    def start(self) -> None:
        self._thread.start()

    def sync(self) -> None:
        """Have the thread fetch now."""
        self._poked.set()

    def close(self) -> None:
        self._stopping.set()
        self._poked.set()
        self._thread.join(5.0)
        self._source.close()

    def about(self) -> dict[str, Any]:
        """Part of the agent's status."""
        return {"source": self._source.words, "revision": self.revision, "problem": self.problem, "since": self._since}

    # -- the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            if (kept := self._source.kept()) is not None and not self._refused(kept):
                self._publish(kept)
        except Exception:  # the local copy may be damaged: the source has the original
            log.exception("%s: what was read before cannot be used", self._source.words)
        failures = 0
        while not self._stopping.is_set():
            asked = self._poked.is_set()
            self._poked.clear()
            try:
                self._once(asked)
                failures = 0
            except PcnError as error:
                failures += 1
                self._say(str(error))
            except Exception as error:  # a feed that ends over a bug would leave a host without its documents
                failures += 1
                log.exception("%s", self._source.words)
                self._say(f"{self._source.words}: {type(error).__name__}: {error}")
            self._report()
            if failures:
                self._poked.wait(min(AGAIN * 2 ** min(failures - 1, 10), LAST))

    def _once(self, asked: bool) -> None:
        found = self._source.fetch()
        if found is not None:
            if why := self._refused(found):
                raise PcnError(f"revision {found.id[:12]} of {self._source.words} is not taken: {why}")
            if self.revision and not asked:
                self._hold(self._delay(found.id))
            if self._stopping.is_set():
                return
            self._source.keep(found)
            self._publish(found)
        self._say("")
        while not self._stopping.is_set():
            self._report()
            if self._source.wait(self._poked, LOOK) or self._poked.is_set():
                return

    def _refused(self, found: Revision) -> str:
        if not self._care.prune or found.prune_all:
            return ""
        why = too_much(self.spool.files(), found.files, self._host)
        return f"{why}, more than half, and does not say 'pcn-prune: all'" if why else ""

    def _delay(self, revision: str) -> float:
        """This host's delay within the spread, in seconds: a hash of host and revision."""
        number = hashlib.sha256(f"{self._host.name}\0{revision}".encode()).digest()
        return self._care.spread * int.from_bytes(number[:4], "big") / (1 << 32)

    def _hold(self, seconds: float) -> None:
        """Wait for this host's turn, or for a request. The status is still reported: the host is not away."""
        until = time.monotonic() + seconds
        while not self._poked.is_set() and (left := until - time.monotonic()) > 0:
            self._report()
            self._poked.wait(min(LOOK, left))

    def _publish(self, found: Revision) -> None:
        if dict(found.files) != self.spool.files() or not self.spool.directory.exists():
            self.spool.publish(found.files)
            log.info("%s is at revision %s: %d files", self._source.words, found.id[:12], len(found.files))
        self._digests = {f"{self.directory}/{name}": hashlib.sha256(content).hexdigest() for name, content in found.files.items()}
        self.revision = found.id
        self._published()

    def _say(self, problem: str) -> None:
        self.turns += 1
        if problem != self.problem:
            self.problem, self._since = problem, time.time() if problem else 0.0
            if problem:
                log.error("%s; what was published stays", problem)
            else:
                log.info("%s answers", self._source.words)

    def _is_read(self, digests: Mapping[str, str]) -> bool:
        """Whether the agent has read the last publication, which it does with a delay."""
        return {path: digest for path, digest in digests.items() if path.startswith(f"{self.directory}/")} == self._digests

    # -- the status -------------------------------------------------------------------------------------------------

    def _report(self) -> None:
        if not self._care.reports:
            return
        said = of_agent(self._status(), self.about(), self._host, self._is_read)
        before, when = self._reported
        if said == before and time.monotonic() - when < HEARTBEAT:
            return
        try:
            self._source.report(self._host.name, {**said, "time": time.time()})
            self._reported = said, time.monotonic()
            self._unreported = False
        except PcnError as error:
            if not self._unreported:
                log.warning("the status is not reported: %s", error)
            self._unreported = True


def of_agent(
    said: Mapping[str, Any] | None, feed: Mapping[str, Any], host: Host, is_read: Callable[[Mapping[str, str]], bool]
) -> dict[str, Any]:
    """A host's status, from its agent's. `state` is one of InSync, Pending, Drift, Invalid, SourceUnavailable.
    `is_read`: whether files of these digests, by path, are the revision of `feed`."""
    found: dict[str, Any] = {"host": host.name, "labels": dict(host.labels)}
    found |= {"revision": feed["revision"], "source": feed["source"]}
    if said is None:
        return found | {"state": "Pending", "problems": ["the agent does not answer"], "topologies": [], "pending": 0, "drift": 0}
    broken = [file["problem"] for file in said["files"] if file["problem"]]
    pending, drift = len(said["pending"]) + len(said.get("trials", ())), len(said["drift"]["now"])
    problems = [feed["problem"]] if feed["problem"] else []
    state = (
        "SourceUnavailable" if problems
        else "Pending" if not is_read({file["path"]: file["digest"] for file in said["files"]})
        else "Invalid" if broken or (said["problems"] and not drift and not pending)
        else "Pending" if pending or any(file["state"] == "waiting" for file in said["files"]) else "Drift" if drift else "InSync"
    )  # fmt: skip
    digests = sorted(file["applied_digest"] for file in said["files"])
    return found | {
        "state": state, "problems": [*problems, *said["problems"]][:20], "topologies": said["topologies"], "pending": pending,
        "drift": drift, "digest": hashlib.sha256("".join(digests).encode()).hexdigest()[:16],
    }  # fmt: skip
