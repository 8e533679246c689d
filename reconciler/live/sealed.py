"""Topologies of which a service is not to be had here: left as they are, and in nobody's way.

A host may hold cubes of a service that this caller did not name (--services). What they are cannot be checked or
compared, so nothing of theirs is touched; every other topology can be applied, shown and healed as ever.
"""

from __future__ import annotations

import json
from collections.abc import Collection

from reconciler import pins
from reconciler.graph.records import CubeRecord, HookRecord, LinkRecord, NamespaceRecord, Record, State, TopologyRecord
from reconciler.service import Services


def sealed(state: State, services: Services) -> frozenset[str]:
    """Names of the live topologies that have a cube of an unknown service."""
    return frozenset(
        record.name
        for record in state.values()
        if isinstance(record, TopologyRecord)
        and any(services.get(name) is None for name in _services_of(record.document))
    )


def _services_of(document: str) -> set[str]:
    return {cube["service-name"] for cube in json.loads(document).get("spec", {}).get("cubes", ())}


def without(state: State, topologies: Collection[str]) -> State:
    """A state without all that these topologies own."""
    if not topologies:
        return state
    cubes = {record.name for record in state.values() if isinstance(record, CubeRecord) and record.topology in topologies}
    homes = tuple(f"{pins.cube(name)}/" for name in cubes)
    return {address: record for address, record in state.items() if not _owned(record, topologies, cubes, homes)}


def _owned(record: Record, topologies: Collection[str], cubes: Collection[str], homes: tuple[str, ...]) -> bool:
    if isinstance(record, TopologyRecord | CubeRecord):
        return record.name in (topologies if isinstance(record, TopologyRecord) else cubes)
    if isinstance(record, NamespaceRecord | LinkRecord):
        return record.topology in topologies
    if isinstance(record, HookRecord):
        return bool(homes) and record.stub.startswith(homes)
    return getattr(record, "cube", None) in cubes
