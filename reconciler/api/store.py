"""Reads and writes the live graph for the API, one request at a time: callers queue.

A read reuses what the kernel reports as unchanged. A write edits the applied document of the API's topology, and applies it as
one transaction; if another writer has applied it meanwhile, the edit is repeated.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from reconciler import pins
from reconciler.api.answers import Refusal
from reconciler.api.saved import SavedTopology
from reconciler.document import Document
from reconciler.engine.apply import ApplyResult, Options, apply, plan_for
from reconciler.engine.builder import Builder
from reconciler.engine.confirm import refuse_while_unconfirmed
from reconciler.engine.edit import Edited, empty_topology, revision_of
from reconciler.engine.session import Reconciler, SessionCache
from reconciler.errors import ApplyFailed, EditRefused, KernelError, PcnError
from reconciler.graph.desired import document_text
from reconciler.graph.documents import StoredDocument, document_data, stored
from reconciler.graph.records import CubeRecord, Live, PortRecord, ProgramRecord
from reconciler.graph.trace import Traced, trace, without_taps
from reconciler.incremental.memo import derived
from reconciler.kernel.bpffs import Bpffs
from reconciler.kernel.reader import Reader
from reconciler.live.facts import host_facts
from reconciler.live.identity import documents_of
from reconciler.plan.steps import LINK_CHANGES, MAP_WRITES, PROGRAM_LOADS
from reconciler.present.attachments import documented
from reconciler.present.show import cube_data

log = logging.getLogger("pcn.api")
Make = Callable[[Mapping[str, Any]], Edited]
_TRIES = 20
_FRESH = 1.0  # seconds for which a full read is reused for edits that write rows only


class Planned(Exception):
    """The plan of a write, raised instead of applying it."""

    def __init__(self, result: ApplyResult, revision: str) -> None:
        super().__init__("only planned")
        self.result, self.revision = result, revision


class _Moved(Exception):
    """The topology was applied, or the kernel written to, since it was read."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One poll: the records of each cube, the peers, and compiled objects by digest."""

    live: Live
    traced: Traced
    cubes: Mapping[str, CubeRecord]
    ports: Mapping[str, list[PortRecord]]
    programs: Mapping[str, list[ProgramRecord]]
    parents: Mapping[str, str]
    objects: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Written:
    """Result of a write: the edit's answer, the new revision, and the result of the apply."""

    output: Mapping[str, Any]
    revision: str
    result: ApplyResult


@dataclass(slots=True)
class Store:
    """`topology`: the API's own. `told` is called with each apply, done or failed. `agrees_with`: watched files, by digest, that
    do not declare it. `only_plans`: writes raise Planned and change nothing."""

    options: Options
    topology: str
    saved: SavedTopology
    told: Callable[[str, Mapping[str, Any]], object] = lambda *_: None
    agrees_with: Mapping[str, str] = field(default_factory=dict)
    only_plans: bool = False
    _state: SessionCache = field(default_factory=SessionCache)
    _built: Builder = field(init=False)
    _raw: tuple[str, Mapping[str, Any]] = ("", {})
    """The document last applied, as stored in the kernel, and as data after the edit, whose entries are the keys of memos."""
    _recent: tuple[float, Live | None] = (0.0, None)
    """Time of the last full read for a write, and the kernel's state verified after it. For writes in quick succession: rows of
    another writer are detected when the write is verified, or by the next full read."""

    def __post_init__(self) -> None:
        self._built = Builder(self.options.services, self.options.compiling, self.options.root, stored=True)

    # -- reading ----------------------------------------------------------------------------------------------------

    def texts(self) -> dict[str, str]:
        """The applied documents by topology."""
        root = Bpffs(self.options.root)
        if not root.exists(""):
            return {}
        records, _ = documents_of(Reader(root, self.options.kept.memory))
        return {record.name: record.document for record in records}

    def revision(self, topology: str, seen: Seen | None = None) -> str:
        """The revision now, or when `seen` was read: an answer has the revision that it was read at, no later one."""
        texts = self.texts() if seen is None else {each.name: each.document for each in seen.live.documents}
        return revision_of_text(texts.get(topology, ""))

    def owners(self) -> dict[str, str]:
        """The topology of each applied cube."""
        return {cube: name for name, text in self.texts().items() for cube in cubes_of(stored(text))}

    def look(self) -> Seen:
        reconciler = self._reconciler(self.options.kept)
        with Bpffs(self.options.root).read_locked(self.options.lock_timeout):
            live = reconciler.live()
        records = list(live.state.values())
        every = (record for record in records if isinstance(record, CubeRecord))
        cubes = {record.name: record for record in every if not pins.is_of_no_document(record.name)}
        ports: dict[str, list[PortRecord]] = {name: [] for name in cubes}
        programs: dict[str, list[ProgramRecord]] = {name: [] for name in cubes}
        for record in records:
            if isinstance(record, PortRecord):
                ports.setdefault(record.cube, []).append(record)
            elif isinstance(record, ProgramRecord):
                programs.setdefault(record.cube, []).append(record)
        said = documented((each.stored.data for each in live.documents), live.netdevs)
        traced = without_taps(trace(live, self.options.services, said))
        parents = {name: netdev for netdev, chain in traced.attachments.items() for name in chain}
        parents |= {name: ":".join(place) for place, chain in traced.tcubes.items() for name in chain}
        return Seen(live, traced, cubes, {cube: sorted(each, key=lambda port: port.index) for cube, each in ports.items()},
                    programs, parents, reconciler.objects(live))  # fmt: skip

    def cube(self, name: str, seen: Seen) -> dict[str, Any]:
        """A live cube with its state, by its model. Reads its own tables only."""
        record = seen.cubes[name]
        reconciler = self._reconciler(self._state)
        with Bpffs(self.options.root).read_locked(self.options.lock_timeout):
            tables = reconciler.live(state=True, since=seen.cubes.keys() - {name}).tables
        live = replace(seen.live, tables={**seen.live.tables, name: tables.get(name, {})})
        service = self.options.services.get(record.service)
        facts = host_facts(service.facts if service is not None else (), live.netdevs)
        return cube_data(record, live, reconciler, seen.traced, self.said(record, seen), True, facts)

    def said(self, record: CubeRecord, seen: Seen) -> Mapping[str, Any]:
        """The configuration of a cube in the applied document."""
        document = next((each.stored for each in seen.live.documents if each.name == record.topology), None)
        return cubes_of(document).get(record.name, {}) if document is not None else {}

    def _reconciler(self, kept: SessionCache) -> Reconciler:
        return Reconciler(self.options.root, self.options.services, self._built, kept=kept)

    # -- writing ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Apply the stored file, if there is one. Raises PcnError."""
        document = self.saved.read()
        if document is None:
            return
        from reconciler.check.polycube import topology_of

        formed = topology_of(document, self.options.services)[0]
        name = formed.data["metadata"]["name"] if isinstance(formed.data, dict) and "metadata" in formed.data else self.topology
        if name != self.topology:
            why = f"{self.saved.path} is of topology {name}, and not of {self.topology} (--topology)"
            raise EditRefused("invalid-value", why)
        refuse_while_unconfirmed(self.options.root)
        apply([document], self.options)

    def document(self) -> tuple[str, Mapping[str, Any]]:
        """The API's applied topology: as text, and as data to edit."""
        text = self.texts().get(self.topology, "")
        if text and text == self._raw[0]:
            return self._raw
        return text, document_data(text) if text else empty_topology(self.topology)

    def write(self, make: Make, match: str | None = None) -> Written:
        """Edit the API's topology, and apply it. Raises EditRefused, Refusal, DocumentError, and the errors of an apply."""
        for _ in range(_TRIES):
            text, data = self.document()
            if match is not None and match not in ("*", revision_of_text(text)):
                raise EditRefused("stale", f"the topology is at revision {revision_of_text(text)}, not {match}")
            edited = make(data)
            if self.only_plans:
                raise Planned(plan_for([Document(self.saved.path, "", edited.document)], self.options), revision_of_text(text))
            with suppress(_Moved):
                return self._apply(text, edited)
        raise Refusal(409, "in-use", "others change the topology all the time")

    def heal(self) -> Written:
        """Repair drift of all topologies; their documents are unchanged."""
        documents = [Document(f"topology {name}", "", document_data(text)) for name, text in sorted(self.texts().items())]
        if self.only_plans:
            raise Planned(plan_for(documents, self.options), self.revision(self.topology))
        refuse_while_unconfirmed(self.options.root)
        result = apply(documents, self.options)
        return Written({}, self.revision(self.topology), result)

    def _apply(self, before: str, edited: Edited) -> Written:
        swapped: list[bytes | None] = []

        def planned(result: ApplyResult) -> None:
            now = next((each.document for each in result.session.live.documents if each.name == self.topology), "")
            if now != before:
                raise _Moved
            swapped.append(self.saved.replace(edited.document))

        refuse_while_unconfirmed(self.options.root)
        began = time.monotonic()
        looked, recent = self._recent if began - self._recent[0] <= _FRESH else (began, None)
        self._recent = (0.0, None)
        try:
            options = replace(self.options, planned=planned, recent=recent)
            result = apply([Document(self.saved.path, "", edited.document)], options)
            self._recent = looked, result.verified
        except BaseException as error:
            if swapped:
                self.saved.restore(swapped[0])
            if isinstance(error, ApplyFailed | KernelError) and recent is not None:  # all is rolled back
                log.info("somebody else wrote to the kernel meanwhile: looking at everything")
                raise _Moved from None
            if isinstance(error, PcnError):
                self.told("failed", {"topology": self.topology, "error": str(error)})
            raise
        text = document_text(next(each for each in result.topologies if each.name == self.topology))
        revision = revision_of_text(text)
        self._raw = text, edited.document
        plan = result.plan
        totals = {what: plan.total(what) for what in (PROGRAM_LOADS, MAP_WRITES, LINK_CHANGES)}
        told = {"topology": self.topology, "revision": revision, **totals, "disruption": str(plan.disruption)}
        self.told("apply", told)
        if plan.steps:
            said = ", ".join(f"{count} {what.replace('_', ' ')}" for what, count in totals.items())
            log.info("applied %s at revision %s: %s, disruption: %s", self.topology, revision, said, plan.disruption)
        return Written(edited.output, revision, result)


def revision_of_text(text: str) -> str:
    return _revision(stored(text)) if text else "0"


@derived
def _revision(document: StoredDocument) -> str:
    return revision_of(document.text)


@derived
def cubes_of(document: StoredDocument) -> dict[str, Mapping[str, Any]]:
    return {cube["name"]: cube for cube in document.data.get("spec", {}).get("cubes", ())}
