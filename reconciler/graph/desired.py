"""From checked topologies to the desired graph: every object that the kernel should hold.

Pure: takes the topologies, the services with their compiled objects, and the existing netdevs; returns records. `wiring`
determines where packets go; this module adds the objects that cubes consist of.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    pass

def build_desired(
    topologies: Sequence[Topology],
    services: Services,
    built: Mapping[BuildKey, Built],
    indices: Mapping[str, Mapping[str, int]],
    netdevs: Mapping[str, str],
    live: LiveCubes | None = None,
    facts: Mapping[str, Any] | None = None,
    before: DesiredCache | None = None,
) -> Desired:
    """The desired graph of these topologies.

    `indices` are the port indices that the live cubes already have, which are kept; `netdevs` are those that exist now and
    are no topology's, with their kinds; `facts` are the host's (reconciler/facts). `before` is the cache of the last build,
    which is updated. Raises DocumentError for what only the compiled tables can tell.
    """
    known = before if before is not None else DesiredCache()
    given_facts = links.with_own(facts or {}, _owned(topologies))
    facts, built, (all_rows, published, recorded) = known.same_facts(given_facts), known.same_built(built), live or LiveCubes()
    editions = services.stamps()
    asked = Inputs(tuple(topologies), dict(built), indices, all_rows, facts, published, dict(netdevs), recorded, editions)
    if known.graph is not None and known.graph.frame.services is services and known.graph.asked.is_like(asked):
        return known.graph.desired
    old = known.graph.parts if known.graph is not None else {}
    kinds = {**netdevs, **_owned(topologies)}
    places = places_of(topologies, kinds)
    parts: dict[str, CubePart] = {}
    problems: list[Problem] = []
    parent = parents(topologies)
    for cube in (cube for topology in topologies for cube in topology.cubes):
        try:
            service = _service(cube, services)
            key, _ = build_key(cube, service)
            whole, known_indices = built[key], indices.get(cube.name, {})
            rows, part, others = all_rows.get(cube.name, {}), old.get(cube.name), recorded.get(cube.name, {})
            seen, own = rows if service.implementation.derives else None, places.named.get(cube.name)
            given = {**published.get(cube.name, {}), **(parent.get(cube.name, {}) if own is None else {})}
            given |= shadow_fact(cube, service, facts)
            wanted = facts_.of_cube(service.facts, facts, given)
            same = part is not None and part.places == own and part.edition == service.edition
            if part is None or not same or not part.holds_for(cube, whole, known_indices, others, seen, wanted):
                names = own if own is not None else [port.name for port in cube.ports]
                ports = port_indices(names, known_indices, service.max_ports if own is None else pins.MOST_PLACES)
                env = Env(ports, cube=cube.name, facts=wanted, live=rows)
                part = cube_part(cube, service, key, whole, env, others, own)
            parts[cube.name] = part
        except (ValueError, KeyError) as error:
            problems.append(Problem(str(error.args[0] if error.args else error), f"/spec/cubes/{cube.name}"))
    if problems:
        raise DocumentError([*problems, *_tables(parts.values())[1]])
    frame = Skeleton.of(topologies, services, frozenset(kinds), places)
    documents = [TopologyRecord(topology.name, document_text(topology)) for topology in topologies]
    desired = rebuild(known.graph, frame, parts, documents) if known.graph is not None else None
    if desired is None:
        desired = _whole(topologies, services, frame.netdevs, parts, places, _promiscuous(topologies, services, kinds))
    known.graph = CachedGraph(asked, frame, parts, desired)
    return desired


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
