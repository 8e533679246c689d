"""The live graph as the API reads and changes it: one caller at a time, which is the queue that requests wait in.

A read takes what the kernel reports still holds from the read before. A write edits the document that the kernel keeps of the
API's topology, and applies it as one transaction; if somebody else has applied it meanwhile, it is edited again.
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
_FRESH = 1.0  # seconds for which a look at everything will do for edits that write nothing but rows


class Planned(Exception):
    """What a write would have done, of which only the plan was wanted."""

    def __init__(self, result: ApplyResult, revision: str) -> None:
        super().__init__("only planned")
        self.result, self.revision = result, revision


class _Moved(Exception):
    """Somebody else has applied the topology since its document was read, or has written to the kernel."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One poll: the records of each cube beside one another, what is joined to what, and what is compiled by its digests."""

    live: Live
    traced: Traced
    cubes: Mapping[str, CubeRecord]
    ports: Mapping[str, list[PortRecord]]
    programs: Mapping[str, list[ProgramRecord]]
    parents: Mapping[str, str]
    objects: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Written:
    """What came of a write: what the edit answers, the new revision, and what the apply did."""

    output: Mapping[str, Any]
    revision: str
    result: ApplyResult


@dataclass(slots=True)
class Store:
    """`topology` is the API's own. `told` is called with each apply, done or failed. `agrees_with`: watched
    files, by their digests, that say nothing of it. `only_plans`: writes raise Planned and change nothing."""

    options: Options
    topology: str
    saved: SavedTopology
    told: Callable[[str, Mapping[str, Any]], object] = lambda *_: None
    agrees_with: Mapping[str, str] = field(default_factory=dict)
    only_plans: bool = False
    _state: SessionCache = field(default_factory=SessionCache)
    _built: Builder = field(init=False)
    _raw: tuple[str, Mapping[str, Any]] = ("", {})
    """What was last applied, as the kernel keeps it, and the same as it was edited: its entries are the objects that everything
    which follows from them is remembered by."""
    _recent: tuple[float, Live | None] = (0.0, None)
    """When everything was last looked at for a write, and what the kernel held once it was done. For what many send one after the
    other: rows that somebody else writes are found when the write is verified, or by the next look."""

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
        """Now, or as it was when that was `seen`: what is answered has the revision that it was read at, and no later one."""
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
        """A live cube with its state, in its model's words. Only its own tables are read for it."""
        record = seen.cubes[name]
        reconciler = self._reconciler(self._state)
        with Bpffs(self.options.root).read_locked(self.options.lock_timeout):
            tables = reconciler.live(state=True, since=seen.cubes.keys() - {name}).tables
        live = replace(seen.live, tables={**seen.live.tables, name: tables.get(name, {})})
        service = self.options.services.get(record.service)
        facts = host_facts(service.facts if service is not None else (), live.netdevs)
        return cube_data(record, live, reconciler, seen.traced, self.said(record, seen), True, facts)

    def said(self, record: CubeRecord, seen: Seen) -> Mapping[str, Any]:
        """What the applied document declares of a cube."""
        document = next((each.stored for each in seen.live.documents if each.name == record.topology), None)
        return cubes_of(document).get(record.name, {}) if document is not None else {}

    def _reconciler(self, kept: SessionCache) -> Reconciler:
        return Reconciler(self.options.root, self.options.services, self._built, kept=kept)

    # -- writing ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Make the kernel hold what the file declares, if there is one. Raises PcnError."""
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
        """The API's topology as it is applied: as text, and as data to be edited."""
        text = self.texts().get(self.topology, "")
        if text and text == self._raw[0]:
            return self._raw
        return text, document_data(text) if text else empty_topology(self.topology)

    def write(self, make: Make, match: str | None = None) -> Written:
        """Edit the API's topology, and apply it. Raises EditRefused, Refusal, DocumentError, and what an apply raises."""
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
        """Make the kernel hold what was last applied, of all topologies; their documents stay as they are."""
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
            if isinstance(error, ApplyFailed | KernelError) and recent is not None:  # all is undone
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
