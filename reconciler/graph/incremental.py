"""Incremental build of the desired graph: reuse the previous graph when only map rows of some cubes changed.

After an edit of one cube of a thousand, its part of the graph is new, and the parts of all others are the very same objects.
If the wiring and the programs are unchanged, only that cube's own records and the document differ; where netdevs come and go,
a hook and a hop differ (graph/arrivals). In any other case the entire graph is built.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import is_
from typing import Any

from reconciler.graph.arrivals import with_netdevs
from reconciler.graph.parts import Built, CubePart, Desired
from reconciler.graph.places import Places
from reconciler.graph.records import Grouped, RecordGroup, State, TopologyRecord
from reconciler.graph.tables import Tables
from reconciler.model import Attachment, BuildKey, Link, Topology
from reconciler.service.registry import Services


@dataclass(frozen=True, slots=True)
class Skeleton:
    """All that a graph is built from, but for its cubes. `netdevs` are those that exist or are the topologies' own."""

    services: Services
    topologies: tuple[tuple[str, tuple[str, ...], tuple[Link, ...], tuple[Attachment, ...], tuple[str, ...]], ...]
    netdevs: frozenset[str]
    places: Places

    @classmethod
    def of(cls, topologies: Sequence[Topology], services: Services, netdevs: frozenset[str], places: Places) -> Skeleton:
        said = ((t.name, t.namespaces, t.links, t.attachments, tuple([cube.name for cube in t.cubes])) for t in topologies)
        return cls(services, tuple(said), netdevs, places)

    def is_like(self, other: Skeleton) -> bool:
        """But for netdevs."""
        return self.services is other.services and self.topologies == other.topologies and self.places == other.places


@dataclass(frozen=True, slots=True)
class Inputs:
    """All arguments of `build_desired`, but for the services."""

    topologies: tuple[Topology, ...]
    built: Mapping[BuildKey, Built]
    indices: Mapping[str, Mapping[str, int]]
    rows: Mapping[str, Mapping[str, Mapping[bytes, bytes]]]
    facts: Mapping[str, Any]
    published: Mapping[str, Mapping[str, Any]]
    netdevs: Mapping[str, str]
    recorded: Mapping[str, Mapping[str, str]]
    editions: tuple[object, ...]

    def is_like(self, other: Inputs) -> bool:
        """Most of it is the very same objects from one time to the next, and of these nothing is compared."""
        mine, theirs = (
            (each.built, each.indices, each.rows, each.facts, each.published, each.netdevs, each.recorded, each.editions)
            for each in (self, other)
        )
        same = len(self.topologies) == len(other.topologies) and all(map(is_, self.topologies, other.topologies))
        return same and mine == theirs


@dataclass(frozen=True, slots=True)
class CachedGraph:
    """A graph, what was requested and what it was built from; `parts` are those of its cubes, by name."""

    asked: Inputs
    frame: Skeleton
    parts: Mapping[str, CubePart]
    desired: Desired


@dataclass(slots=True)
class DesiredCache:
    """The last graph, and what there was of which there is one object for as long as it states the same: the services' objects by
    what they were compiled for, and the host's facts by name."""

    graph: CachedGraph | None = None
    built: dict[BuildKey, Built] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    def keep(self, linked: Desired) -> None:
        """The last graph with its chains: the next build starts from it."""
        if self.graph is not None:
            self.graph = replace(self.graph, desired=linked)

    def same_facts(self, facts: Mapping[str, Any]) -> Mapping[str, Any]:
        self.facts |= {name: value for name, value in facts.items() if name not in self.facts or self.facts[name] != value}
        return {name: self.facts[name] for name in facts}

    def same_built(self, built: Mapping[BuildKey, Built]) -> Mapping[BuildKey, Built]:
        for key, whole in built.items():
            if key not in self.built or self.built[key].seals != whole.seals:
                self.built[key] = whole
        self.built = {key: self.built[key] for key in built}
        return self.built


def rebuild(
    old: CachedGraph, frame: Skeleton, parts: Mapping[str, CubePart], documents: Sequence[TopologyRecord]
) -> Desired | None:
    """The graph of these parts and documents, if it is the old one but for some cubes' configuration, and netdevs at plain
    ports; else None."""
    if not old.frame.is_like(frame) or old.parts.keys() != parts.keys():
        return None
    desired = _at_netdevs(old, frame)
    if desired is None or not isinstance(desired.state, Grouped):
        return None
    state = desired.state
    changed = [(was, part) for name, part in parts.items() if (was := old.parts[name]) is not part]
    if not all(_differs_in_rows(was, part) for was, part in changed):
        return None
    records: list[Any] = [record for record in documents if not _is_known(record, old.desired)]
    tables = Tables()
    for _, part in changed:
        tables.add(part.cube.name, part.made.objects, part.whole.objects, part.rows, part.sizes)
    own = [record for record in tables.records() if record.cube]
    of_the_host = (declared for path, declared in tables.declared.items() if not path.startswith("cubes/"))
    if tables.problems or any(declared.rows is not None for declared in of_the_host):
        return None
    records += [record for record in own if record.address in state]  # a twin that would never run is not
    if not records:
        return desired
    groups: dict[str, State] = {}
    for record in records:
        owner = getattr(record, "cube", "")
        groups.setdefault(owner, dict(state.groups[owner]))[record.address] = record
    return replace(desired, state=state.but({owner: RecordGroup(group) for owner, group in groups.items()}))


def _at_netdevs(old: CachedGraph, frame: Skeleton) -> Desired | None:
    """The old graph with the netdevs of this frame."""
    came, gone = frame.netdevs - old.frame.netdevs, old.frame.netdevs - frame.netdevs
    if not came and not gone:
        return old.desired
    cubes = (part.cube for part in old.parts.values())
    return with_netdevs(old.desired, came, gone, cubes, frame.services, frame.places.attached)


def _is_known(document: TopologyRecord, desired: Desired) -> bool:
    known = desired.state[document.address]
    return isinstance(known, TopologyRecord) and known.document == document.document


def _differs_in_rows(was: CubePart, part: CubePart) -> bool:
    """Whether two parts differ only in the rows of their tables, and have the same wiring."""
    if was.sizes != part.sizes:
        return False
    return was.whole is part.whole and was.records == part.records and was.rows.keys() == part.rows.keys() and (
        was.made.objects.keys() == part.made.objects.keys() and was.cube.ports == part.cube.ports
    )
