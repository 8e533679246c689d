"""From checked topologies to the desired graph: every object that the kernel should hold.

Pure: takes the topologies, the services with their compiled objects, and the existing netdevs; returns records. `wiring`
determines where packets go; this module adds the objects that cubes consist of.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from reconciler import facts as facts_
from reconciler import pins
from reconciler.errors import DocumentError, Problem
from reconciler.facts import links
from reconciler.graph.cube_part import build_key, cube_part, shadow_fact
from reconciler.graph.documents import StoredDocument, stored_of
from reconciler.graph.incremental import CachedGraph, DesiredCache, Inputs, Skeleton, rebuild
from reconciler.graph.parents import parents
from reconciler.graph.parts import Built, CubePart, Desired, LiveCubes, by_address
from reconciler.graph.places import Places, places_of
from reconciler.graph.records import (
    LinkRecord,
    NamespaceRecord,
    NextHopRecord,
    Record,
    State,
    TableRecord,
    TopologyRecord,
)
from reconciler.graph.tables import Tables
from reconciler.graph.wiring import Wiring, wire
from reconciler.incremental.memo import derived
from reconciler.model import BuildKey, Cube, Topology
from reconciler.service.model.codec import Env
from reconciler.service.registry import Service, Services


def build_desired(
    topologies: Sequence[Topology],
    services: Services,
    built: Mapping[BuildKey, Built],
    live: LiveCubes,
    netdevs: Mapping[str, str],
    facts: Mapping[str, Any] | None = None,
    before: DesiredCache | None = None,
) -> Desired:
    """The desired graph of these topologies.

    The port indices of `live` cubes are kept; `netdevs` are those that exist now and are no topology's, with their kinds;
    `facts` are the host's (reconciler/facts). `before` is the cache of the last build, which is updated. Raises DocumentError
    for what only the compiled tables can tell.
    """
    known = before if before is not None else DesiredCache()
    given_facts = links.with_own(facts or {}, _owned(topologies))
    facts, built, stamps = known.same_facts(given_facts), known.same_built(built), services.stamps()
    seen = live.indices, live.rows, facts, live.published, dict(netdevs), live.recorded
    asked = Inputs(tuple(topologies), dict(built), *seen, stamps)
    if known.graph is not None and known.graph.frame.services is services and known.graph.asked.is_like(asked):
        return known.graph.desired
    kinds = {**netdevs, **_owned(topologies)}
    places = places_of(topologies, kinds)
    old = known.graph.parts if known.graph is not None else {}
    parts = _parts(topologies, _PartBuilder(services, built, live, facts, places, parents(topologies), old))
    frame = Skeleton.of(topologies, services, frozenset(kinds), places)
    documents = [TopologyRecord(topology.name, document_text(topology)) for topology in topologies]
    desired = rebuild(known.graph, frame, parts, documents) if known.graph is not None else None
    if desired is None:
        desired = _whole(topologies, services, frame.netdevs, parts, places, _promiscuous(topologies, services, kinds))
    known.graph = CachedGraph(asked, frame, parts, desired)
    return desired


@dataclass(frozen=True, slots=True)
class _PartBuilder:
    """Makes the parts of cubes; that of the `old` graph is reused if it would come out the same."""

    services: Services
    built: Mapping[BuildKey, Built]
    live: LiveCubes
    facts: Mapping[str, Any]
    places: Places
    parents: Mapping[str, Mapping[str, Any]]
    old: Mapping[str, CubePart]

    def part(self, cube: Cube) -> CubePart:
        """Raises ValueError, KeyError."""
        service, own = _service(cube, self.services), self.places.named.get(cube.name)
        key, _ = build_key(cube, service)
        whole, indices = self.built[key], self.live.indices.get(cube.name, {})
        rows, others = self.live.rows.get(cube.name, {}), self.live.recorded.get(cube.name, {})
        facts = self._facts_of(cube, service, at_one_place=own is None)
        old, seen = self.old.get(cube.name), rows if service.implementation.derives else None
        same = old is not None and old.places == own and old.edition == service.edition
        if old is not None and same and old.holds_for(cube, whole, indices, others, seen, facts):
            return old
        names = own if own is not None else [port.name for port in cube.ports]
        ports = port_indices(names, indices, service.max_ports if own is None else pins.MOST_PLACES)
        return cube_part(cube, service, key, whole, Env(ports, cube=cube.name, facts=facts, live=rows), others, own)

    def _facts_of(self, cube: Cube, service: Service, *, at_one_place: bool) -> Mapping[str, Any]:
        given = {**self.live.published.get(cube.name, {}), **(self.parents.get(cube.name, {}) if at_one_place else {})}
        return facts_.of_cube(service.facts, self.facts, given | shadow_fact(cube, service, self.facts))


def _parts(topologies: Sequence[Topology], builder: _PartBuilder) -> dict[str, CubePart]:
    """By cube. Raises DocumentError."""
    parts: dict[str, CubePart] = {}
    problems: list[Problem] = []
    for cube in (cube for topology in topologies for cube in topology.cubes):
        try:
            parts[cube.name] = builder.part(cube)
        except (ValueError, KeyError) as error:
            problems.append(Problem(str(error.args[0] if error.args else error), f"/spec/cubes/{cube.name}"))
    if problems:
        raise DocumentError([*problems, *_tables(parts.values())[1]])
    return parts


def _promiscuous(topologies: Sequence[Topology], services: Services, kinds: Mapping[str, str]) -> Iterable[Record]:
    if not any(_service(cube, services).floods for topology in topologies for cube in topology.cubes):
        return ()
    from reconciler.graph.promiscuous import promiscuous

    return promiscuous(topologies, services, kinds)


def _owned(topologies: Sequence[Topology]) -> dict[str, str]:
    """The netdevs that topologies make in this namespace, with their kinds."""
    links = [link for topology in topologies for link in topology.links]
    return {end.name: link.kind for link in links for end in (link.end, link.peer) if end is not None and end.netns is None}


def _whole(
    topologies: Sequence[Topology],
    services: Services,
    netdevs: Collection[str],
    parts: Mapping[str, CubePart],
    places: Places,
    more: Iterable[Record],
) -> Desired:
    """The graph of these topologies, of whose cubes these are the parts. `more` are records that are of no topology."""
    indices, state = {cube: dict(part.env.ports) for cube, part in parts.items()}, dict[str, Record]()

    def add(records: Iterable[Record]) -> None:
        state.update(by_address(records))

    for topology in topologies:
        add(NamespaceRecord(name, topology.name) for name in topology.namespaces)
        add(LinkRecord(link, topology.name) for link in topology.links)
        add([TopologyRecord(topology.name, document_text(topology))])
        for cube in topology.cubes:
            add(parts[cube.name].records)
    tables, problems = _tables(parts.values())
    if problems:
        raise DocumentError(problems)
    add(tables)
    wiring = wire(topologies, services, indices, netdevs, places)
    add(_that_have_tables(wiring.records, state))
    if any(slot.side == pins.TWIN for part in parts.values() for slot in part.made.objects):
        _drop_idle_twins(state, wiring)
    add(more)
    missing = {netdev for *_, netdev in wiring.pending}
    whole = wire(topologies, services, indices, {*netdevs, *missing}, places) if missing else wiring
    return Desired(state, tuple(wiring.pending), tuple(whole.records), tuple(wiring.notes), indices)


def _that_have_tables(records: Iterable[Record], state: State) -> Iterator[Record]:
    """Without hops into namespaces for cubes whose programs never use them."""
    for record in records:
        leads_there = isinstance(record, NextHopRecord) and record.side == pins.SHADOW
        if not leads_there or f"cube/{record.cube}/table/{pins.SHADOW}hops" in state:  # type: ignore[union-attr]
            yield record


def _tables(parts: Iterable[CubePart]) -> tuple[list[TableRecord], list[Problem]]:
    """The tables of all cubes, and what is wrong with them."""
    tables = Tables()
    for part in parts:
        tables.add(part.cube.name, part.made.objects, part.whole.objects, part.rows, part.sizes)
    records = list(tables.records())
    return records, [Problem(sentence, f"/spec/cubes/{cube}") for cube, sentence in tables.problems]


def document_text(topology: Topology) -> str:
    """A topology as the kernel keeps it."""
    return stored_document(topology).text


@derived
def stored_document(topology: Topology) -> StoredDocument:
    return stored_of(topology.document)


def port_indices(wanted: Sequence[str], known: Mapping[str, int], most: int = pins.MOST_PORTS) -> dict[str, int]:
    """An index for each port, or place: the one it has, else the lowest free one, so that learned state that refers to ports
    stays valid.

    The index of a removed port is the last choice: packets may be on their way to it. A service of at most `most` ports has
    no index beyond them (one with two ports derives the other port from it).
    """
    kept = {name: index for name, index in known.items() if name in wanted}
    if len(kept) == len(wanted):
        return {name: kept[name] for name in wanted}
    numbers = tuple(pins.port_numbers(most))
    left = {index for name, index in known.items() if name not in wanted and index in numbers}.difference(kept.values())
    taken = left.union(kept.values())
    free = chain((index for index in numbers if index not in taken), sorted(left))
    return {name: kept[name] if name in kept else next(free) for name in wanted}


def _service(cube: Cube, services: Services) -> Service:
    service = services.get(cube.service)
    if service is None:
        raise KeyError(f"no service {cube.service!r}")
    return service


def _drop_idle_twins(state: dict[str, Record], wiring: Wiring) -> None:
    """Take out the TC twins that no netdev's egress hook points to: they would never run."""
    idle = [
        address
        for address, record in state.items()
        if getattr(record, "side", pins.MAIN) == pins.TWIN and getattr(record, "cube", "") not in wiring.twins
    ]
    idle += [
        address
        for address, record in state.items()
        if isinstance(record, TableRecord)
        and record.cube not in ("", *wiring.twins)
        and pins.side_of(record.path) == pins.TWIN
    ]
    for address in idle:
        state.pop(address, None)
