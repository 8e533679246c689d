"""A session: one read of the kernel, with the desired, applied and live state, and the plan.

Three-way without a state file. Desired are the documents; applied is the last apply as the kernel stores it; live is read
back. *Pending*: desired differs from applied. *Drift*: live differs from applied. An *upgrade* that would reset state is
pending, too: live equals applied, with the code of that time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from reconciler import pins
from reconciler.document import Document
from reconciler.engine.builder import Builder, by_digest
from reconciler.engine.states import configs_of, drift_between, network, network_of, same_texts, with_namespaces
from reconciler.errors import CompileError, DocumentError, NotPermitted
from reconciler.facts import SHADOW
from reconciler.facts.selector import LOOPBACK
from reconciler.graph.chains import fuse
from reconciler.graph.desired import build_desired, stored_document
from reconciler.graph.diff import Change, diff, is_other_code, without_documents
from reconciler.graph.documents import StoredDocument
from reconciler.graph.incremental import DesiredCache
from reconciler.graph.parts import Built, Desired, LiveCubes
from reconciler.graph.records import Grouped, Live, Record, RecordGroup, State, grouped
from reconciler.graph.shadows import as_imported, with_shadows
from reconciler.graph.taps import with_taps
from reconciler.kernel.read_cache import ReadCache
from reconciler.live import taps as asked
from reconciler.live.applied import applied_documents, name_of
from reconciler.live.quarantine import HELD, UNREADABLE, of_unknown_services, readable, sealed, without
from reconciler.model import BuildKey, Tap, Topology
from reconciler.plan import make_plan
from reconciler.plan.context import Surroundings, taken
from reconciler.plan.steps import Plan
from reconciler.service.model.codec import Env
from reconciler.service.registry import Services


@dataclass(slots=True)
class Session:
    """The states and their differences. `objects`: compiled programs by digest, for the executor; `facts`: the host's facts that
    services of these cubes name, as read at the start."""

    desired: Desired
    live: Live
    plan: Plan
    pending: list[Change] = field(default_factory=list)
    drift: list[Change] = field(default_factory=list)
    objects: dict[str, Any] = field(default_factory=dict)
    built: dict[BuildKey, Built] = field(default_factory=dict)
    conflicts: list[str] = field(default_factory=list)
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class SessionCache:
    """The cache of a caller that polls repeatedly. All of it is optional: it is valid only for identical input, or by the
    kernel's guarantees (see ReadCache). `topologies` are applied ones by their documents, `state` is the last poll's, `built`
    its compiled kinds, `seen` those of them that were read from the root, and `recorded` the objects of programs that are
    recorded under other digests than today's."""

    memory: ReadCache = field(default_factory=ReadCache)
    intended: DesiredCache = field(default_factory=DesiredCache)
    topologies: dict[str, Topology] = field(default_factory=dict)
    state: Grouped | None = None
    built: dict[BuildKey, Built] = field(default_factory=dict)
    seen: dict[BuildKey, Built] = field(default_factory=dict)
    recorded: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Reconciler:
    """Reads one root once, and builds sessions of it. Topologies of services that are not installed are omitted, unless they are
    to be dropped; so are those to `hold`, which stay as they are."""

    root: str
    services: Services
    builder: Builder
    drop: frozenset[str] = frozenset()
    hold: frozenset[str] = frozenset()
    kept: SessionCache = field(default_factory=SessionCache)

    def live(
        self,
        *,
        state: bool = False,
        since: Collection[str] = (),
        spare: Collection[str] = (),
        known: Mapping[str, dict[bytes, bytes]] | None = None,
    ) -> Live:
        """Read the kernel below the root; with `state`, the datapath's own tables too. Cubes in `since` are taken from the last
        read of the same cache, and rows of tables in `known`, by path, from `known`. Topologies that cannot be read are sealed,
        except those to `spare`, which are about to be replaced or removed."""
        from reconciler.kernel import rtnl
        from reconciler.kernel.bpffs import Bpffs
        from reconciler.kernel.reader import Reader
        from reconciler.live.observe import observe_bpffs

        def look() -> Live:
            with Reader(Bpffs(self.root), self.kept.memory, since, known) as reader:
                found = observe_bpffs(reader, self.services, self.builder.one, rtnl.links(), state=state, before=self.kept.state)
            self.kept.state = found.state if isinstance(found.state, Grouped) else None
            return found

        self.builder.seen |= self.kept.seen
        taps = tuple(tap for tap in asked.read(self.root) if self._can_be(tap))
        live = replace(look(), taps=taps)
        if self.builder.unknown:  # stored objects are lost: the cubes' C is in the applied documents
            topologies, _ = readable(applied_documents(live), self.services)
            if self.builder.unknown & self.builder.keys_of(topologies):
                live = replace(look(), taps=taps)
        self.kept.built, self.kept.seen = dict(self.builder.built), dict(self.builder.seen)
        unknown = of_unknown_services(live.documents, self.services)
        going = self.drop.union(spare)
        held = self.hold.intersection(record.name for record in live.documents)
        reasons = dict.fromkeys(held, HELD) | {name: why for name, why in unknown.items() if name not in self.drop}
        reasons |= dict.fromkeys(set(live.unreadable) - going, UNREADABLE)
        orphans = tuple(pins.topology(name) for name in live.unreadable if name in going)
        return sealed(replace(live, orphans=live.orphans + orphans) if orphans else live, reasons)

    def _can_be(self, tap: Tap) -> bool:
        """Whether a tap can be built: one that cannot must not prevent an apply."""
        try:
            return bool(self.builder.ensure([self.builder.key_of(tap.cube)]))
        except (DocumentError, CompileError, NotPermitted):
            return False

    def tapped(self, topologies: Sequence[Topology], live: Live) -> Sequence[Topology]:
        """The topologies with primary names of netdevs instead of alternative ones, with the requested taps, and with the
        internal cubes of shadows."""
        if any(netdev.other_names for netdev in live.netdevs.values()):
            from reconciler.graph.altnames import with_own_names

            topologies = with_own_names(topologies, live.netdevs)
        return with_shadows(with_taps(topologies, live.taps) if live.taps else topologies)

    def still(self, live: Live, *, connecting: bool = False) -> Live | None:
        """`live`, an earlier read, if documents, names of cubes and netdevs are unchanged since; else None. If netdevs may have
        appeared or vanished (`connecting`), these and hooks are read again, and cubes are taken from `live`."""
        from reconciler.kernel import rtnl
        from reconciler.kernel.bpffs import Bpffs
        from reconciler.kernel.reader import Reader
        from reconciler.live.identity import documents_of
        from reconciler.live.observe import ways_of

        self.builder.built |= self.kept.built
        if connecting:
            now = self.live(since={*live.generations, *map(ways_of, live.generations)})
            same = same_texts(now.documents, live.documents) and now.generations.keys() == live.generations.keys()
            return now if same and now.taps == live.taps else None
        reader = Reader(Bpffs(self.root), self.kept.memory)
        (documents, _), cubes = documents_of(reader), {pins.unescape(name) for name in reader.names("cubes")}
        same = same_texts(documents, live.documents) and rtnl.links() == live.netdevs
        if not same or cubes != live.generations.keys() or asked.read(self.root) != live.taps:
            return None
        return replace(live, adoptable={}, adopted={}, overfull=frozenset())

    def expected(self, documents: Sequence[Document], named: Collection[str], *, merge: bool) -> list[StoredDocument]:
        """The documents as the kernel will store them, if all stored ones have these names. While the caller references them, a
        read of the kernel does not decode equal ones. Errors in a document are reported later."""
        from reconciler.check import check
        from reconciler.kernel.bpffs import Bpffs

        if not {pins.unescape(name) for name in Bpffs(self.root).names("topologies")} <= set(named):
            return []
        try:
            return [stored_document(topology) for topology in check(documents, self.services, merge=merge)[0]]
        except DocumentError:
            return []

    def applied(self, live: Live, spare: Collection[str] = ()) -> tuple[list[Topology], Live]:
        """The topologies of the applied documents, and the live state without those that cannot be read. Those to `spare`, which
        are about to be replaced or removed, stay in it in any case."""
        kept = applied_documents(live)
        if all(document.text in self.kept.topologies for document in kept):
            return [self.kept.topologies[document.text] for document in kept], live
        topologies, wrong = readable(kept, self.services)
        names = {document.file: name_of(document) for document in kept}
        return topologies, sealed(live, {names[file]: why for file, why in wrong.items() if names[file] not in spare})

    def with_links(self, live: Live, wanted: Iterable[Record]) -> tuple[State, list[str]]:
        """The live state with the netdevs and namespaces of these desired records, and conflicts as sentences."""
        from reconciler.kernel.bpffs import Bpffs
        from reconciler.kernel.reader import Reader
        from reconciler.live.observe_links import observe_links

        links = observe_links(Reader(Bpffs(self.root), self.kept.memory), wanted, live.namespaces)
        found = without({record.address: record for record in links.records}, live.sealed)
        if isinstance(live.state, Grouped):
            return live.state.but({"": RecordGroup(live.state.without_cubes() | found)}), links.conflicts
        return live.state | found, links.conflicts

    def facts(self, topologies: Sequence[Topology], live: Live) -> dict[str, Any]:
        """Read the host's facts that services of these topologies name."""
        from reconciler.kernel.bpffs import Bpffs
        from reconciler.kernel.reader import Reader
        from reconciler.live.facts import host_facts
        from reconciler.live.shadows import shadow_facts

        names = {cube.service for topology in topologies for cube in topology.cubes}
        found = [service for name in names if (service := self.services.get(name)) is not None]
        known = host_facts((fact for service in found for fact in service.facts), live.netdevs)
        return known | shadow_facts(Reader(Bpffs(self.root)), with_namespaces(topologies, self.services))

    def build_desired(
        self,
        topologies: Sequence[Topology],
        live: Live,
        before: DesiredCache | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> Desired:
        """The desired graph. `facts`: the host's, if read already. Raises CompileError, DocumentError."""
        facts = self.facts(topologies, live) if facts is None else facts
        from reconciler.kernel.netstate import ARPHRD_LOOPBACK

        topologies = self.tapped(topologies, live)
        built = self.builder.ensure(self.builder.keys_of(topologies))
        mark = f"{self.root}/topologies/"  # our netdevs are created and deleted with their topologies
        usable = {name: netdev for name, netdev in live.netdevs.items() if netdev.carries_ethernet}
        others = {
            name: LOOPBACK if netdev.link_type == ARPHRD_LOOPBACK else netdev.kind
            for name, netdev in usable.items()
            if not netdev.alias.startswith(mark)
        }
        recorded: Mapping[str, Mapping[str, str]] = {}
        if known := self._recorded(live):
            from reconciler.live.recorded import names

            today = by_digest(built)
            recorded = names(live, {digest: made for digest, made in known.items() if made and made.digest in today})
        cubes = LiveCubes(live.tables, live.published, recorded, live.ports)
        desired = build_desired(topologies, self.services, built, cubes, others, facts, before)
        if not desired.linked:
            state = dict(desired.state)
            chains = fuse(state, desired.ways, self.services, built, self.objects(live))
            desired = replace(desired, state=grouped(state), chains=chains, linked=True)
            if before is not None:
                before.keep(desired)
        return desired

    def _recorded(self, live: Live) -> dict[str, Any]:
        """The objects of live programs that are recorded under other digests than today's; None: lost."""
        today = [made for built in self.builder.built.values() for made in built.objects.values()]
        others = live.recorded.difference(made.digest for made in today)
        if lacking := others - self.kept.recorded.keys():
            from reconciler.kernel.bpffs import Bpffs
            from reconciler.kernel.reader import Reader
            from reconciler.live.recorded import find

            self.kept.recorded |= find(Reader(Bpffs(self.root)), lacking, today)
        return {digest: self.kept.recorded[digest] for digest in others}

    def objects(self, live: Live) -> dict[str, Any]:
        """Compiled objects, by every digest under which they are or will be recorded."""
        today = by_digest(self.builder.built)
        known = self._recorded(live).items()
        return today | {digest: today[made.digest] for digest, made in known if made is not None and made.digest in today}

    def same(self, live: Live) -> dict[str, set[str]]:
        """By digest of the compiled objects, the other digests of live programs that are equivalent."""
        found: dict[str, set[str]] = {}
        for digest, made in self._recorded(live).items():
            if made is not None:
                found.setdefault(made.digest, set()).add(digest)
        return found

    def _with_layouts(self, live: Live, topologies: Sequence[Topology]) -> Live:
        """The live state, with tables marked whose layout differs in newer code."""
        known = self._recorded(live)
        if not known:
            return live
        from reconciler.live.recorded import laid_out_anew

        keys = ((cube.name, self.builder.key_of(cube)) for each in self.tapped(topologies, live) for cube in each.cubes)
        tables = {cube: self.builder.built[key].tables for cube, key in keys if key in self.builder.built}
        return replace(live, state=laid_out_anew(live, tables, known))

    def _with_adoptable(self, base: Live, desired: Desired) -> Live:
        from reconciler.kernel.bpffs import Bpffs
        from reconciler.kernel.reader import Reader
        from reconciler.live.adopt import adoptable, overfull

        with Reader(Bpffs(self.root), self.kept.memory) as reader:
            pins_lost, adopted = adoptable(reader, base, desired.state)
            full = overfull(reader, base.state, desired.state)
        return replace(base, adoptable=pins_lost, adopted=adopted, overfull=full)

    def _applied(self, applied: Sequence[Topology], base: Live, facts: Mapping[str, Any]) -> Desired:
        """The applied graph. A service that cannot be compiled any more must not prevent the deletion of its topology: the graph
        then has the network only, and drift of the cubes is not detected."""
        try:
            return self.build_desired(applied, base, self.kept.intended, facts)
        except CompileError:
            return network_of(applied)

    def _facts_then(self, applied: Iterable[Topology], base: Live, facts: Mapping[str, Any]) -> Mapping[str, Any]:
        """The facts with which cubes were last built instead of their namespaces' current ones: changes by Linux tools there are
        pending, not drift."""
        if SHADOW not in facts:
            return facts
        seen: dict[str, Any] = dict(facts[SHADOW])
        for cube in (cube for topology in applied for cube in topology.cubes if seen.get(cube.name)):
            service, built = self.services.get(cube.service), self.builder.one(self.builder.key_of(cube))
            if service is not None and built is not None:
                env = Env(base.ports.get(cube.name, {}), cube=cube.name)
                config = service.config(base.tables.get(cube.name, {}), built.tables, env)
                seen[cube.name] = as_imported(seen[cube.name], service.implementation.namespace(config, cube.name))
        return {**facts, SHADOW: seen}

    def session(self, wanted: Sequence[Topology], applied: Sequence[Topology], base: Live) -> Session:
        """The session that changes the kernel, read as `base`, to `wanted` and nothing else. `applied`: its stored documents."""
        from reconciler.live.facts import own_netdevs

        facts = self.facts(wanted if applied is wanted else [*wanted, *applied], base)
        facts_then = self._facts_then(applied, base, facts)
        before = None if applied is wanted and facts_then == facts else self._applied(applied, base, facts_then)
        desired = self.build_desired(wanted, base, self.kept.intended, facts)
        before, base = desired if before is None else before, self._with_layouts(base, wanted)
        own, known = network(desired.state), network(before.state)
        state, conflicts = self.with_links(base, {**known, **own}.values())
        base = self._with_adoptable(base, desired)
        then = state if known == own else self.with_links(base, known.values())[0]
        live = replace(base, state=state, network=then)
        objects = self.objects(base)
        old, now, at = configs_of(applied), configs_of(wanted), taken(desired.state, state)
        if applied is not wanted:
            from reconciler.plan.ways import changes, entrances

            at |= entrances(changes(old, now, desired.state, self.services), desired.state, self.services).keys()
        around = Surroundings(own_netdevs(at, base.netdevs), old, now)
        plan = make_plan(desired, live, self.services, self.builder.built, objects, around)
        drift = drift_between(before.state, then, base.sealed)
        upgrade = [change for change in drift if is_other_code(change)] if plan.resets else []
        return Session(
            desired,
            live,
            plan,
            [*without_documents(diff(desired.state, before.state)), *upgrade],
            [change for change in drift if not is_other_code(change)] if upgrade else drift,
            objects,
            self.builder.built,
            conflicts,
            facts,
        )
