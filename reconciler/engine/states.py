"""Parts and differences of states, for sessions: the network, and drift between live and applied. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from reconciler.facts import SHADOW
from reconciler.graph.diff import Change, diff
from reconciler.graph.parts import Desired, by_address
from reconciler.graph.records import (
    Grouped,
    LinkRecord,
    Live,
    NamespaceRecord,
    OfNetwork,
    Record,
    RecordGroup,
    State,
    TableRecord,
    TopologyRecord,
    global_records,
)
from reconciler.model import Topology
from reconciler.plan.context import Configs
from reconciler.service.registry import Services


def same_texts(documents: Sequence[TopologyRecord], others: Sequence[TopologyRecord]) -> bool:
    """Whether names and texts are identical."""
    return [(each.name, each.document) for each in documents] == [(each.name, each.document) for each in others]


def network(state: State) -> State:
    """The state's records of netdevs and namespaces."""
    return {address: record for address, record in global_records(state).items() if isinstance(record, OfNetwork)}


def without_network(live: Live) -> Live:
    """The live state below the root, without netdevs and namespaces."""
    of_network = network(live.state)
    rest = {address: record for address, record in global_records(live.state).items() if address not in of_network}
    if isinstance(live.state, Grouped):
        return replace(live, state=live.state.but({"": RecordGroup(rest)}))
    return replace(live, state=rest)


def network_of(topologies: Sequence[Topology]) -> Desired:
    found: dict[str, Record] = {}
    for topology in topologies:
        found |= by_address(NamespaceRecord(name, topology.name) for name in topology.namespaces)
        found |= by_address(LinkRecord(link, topology.name) for link in topology.links)
    return Desired(found)


def drift_between(applied: State, live: State, sealed: Collection[str]) -> list[Change]:
    """Differences of the live graph from the applied one. A document is drift only if one side lacks it. A public table that the
    applied graph lacks is none if topologies are sealed, whose cubes may use it."""
    changes = diff(applied, live)
    if sealed:
        changes = [c for c in changes if not (c.after is None and isinstance(c.before, TableRecord) and not c.before.cube)]
    return [change for change in changes if not isinstance(change.before, TopologyRecord) or change.after is None]


def with_namespaces(topologies: Iterable[Topology], services: Services) -> set[str]:
    """The cubes with a shadow whose services name the fact of its namespace's content."""
    cubes = (cube for topology in topologies for cube in topology.cubes if cube.shadow)
    return {cube.name for cube in cubes if SHADOW in getattr(services.get(cube.service), "facts", ())}


def configs_of(topologies: Iterable[Topology]) -> Configs:
    return {cube.name: cube.config for topology in topologies for cube in topology.cubes}
