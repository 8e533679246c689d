"""What of its configuration changes, for cubes whose rows a Python half derives.

Such rows need not resemble what somebody wrote, and one rule may be many of them. So the documents are compared: the one
that is applied with the one that is wanted.
"""
from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from reconciler.engine.session import Session
from reconciler.graph.records import CubeRecord, TopologyRecord
from reconciler.present.rows import Decoder, Leaves, entries

_SAID_ELSEWHERE = frozenset({"name", "service-name", "type", "loglevel", "peer", "tcubes"})


def configurations_of(session: Session, decoder: Decoder, cubes: Collection[str]) -> dict[str, dict[str, Leaves]]:
    """For each of `cubes` that has such rows and a configuration that changes: what differs, 'before' and 'after'."""
    services = {cube: decoder.service(cube) for cube in cubes}
    derived = {
        cube: service for cube, service in services.items() if service is not None and service.implementation.derives
    }
    sides = [_cubes(session, state, derived) for state in (session.live.state, session.desired.state)] if derived else []
    found = {}
    for cube, service in derived.items():
        old, new = (dict(_flat(service.schema, side.get(cube, {}))) for side in sides)
        if old != new:
            found[cube] = {
                "before": {entry: leaves for entry, leaves in old.items() if new.get(entry) != leaves},
                "after": {entry: leaves for entry, leaves in new.items() if old.get(entry) != leaves},
            }
    return found


def _cubes(session: Session, state: Mapping[str, Any], wanted: Collection[str]) -> dict[str, Mapping[str, Any]]:
    """The cubes as a side's documents have them."""
    owners = {record.topology for name in wanted if isinstance(record := state.get(f"cube/{name}"), CubeRecord)}
    found: dict[str, Mapping[str, Any]] = {}
    for owner in owners:
        if isinstance(record := state.get(f"topology/{owner}"), TopologyRecord):
            found |= {cube["name"]: cube for cube in json.loads(record.document).get("spec", {}).get("cubes", ())}
    return found


def _flat(schema: Mapping[str, Any], cube: Mapping[str, Any]) -> Leaves:
    found: Leaves = {}
    for entry, leaves in entries(schema, cube):
        rest = {leaf: value for leaf, value in leaves.items() if leaf not in _SAID_ELSEWHERE}
        found |= {entry: rest} if entry else rest
    return found
