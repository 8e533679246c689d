"""Configuration changes of cubes whose rows a Python half derives, or of which nothing changes in the kernel.

Derived rows need not resemble the configuration, and one rule may be many rows. So the documents are compared: the applied
with the desired one.
"""
from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from reconciler.engine.session import Session
from reconciler.graph.records import CubeRecord, TopologyRecord
from reconciler.incremental.sharing import alike, is_same
from reconciler.plan.steps import Step
from reconciler.present import ROWS, subject
from reconciler.present.rows import Decoder, Leaves, entries

_SAID_ELSEWHERE = frozenset({"name", "service-name", "type", "loglevel", "peer", "tcubes"})


def configurations_of(session: Session, decoder: Decoder, steps: Iterable[Step]) -> dict[str, dict[str, Leaves]]:
    """By cube, the differing entries 'before' and 'after': of cubes with derived rows in these steps, and of cubes that no step
    touches (a description is in no table)."""
    steps = list(steps)
    cubes = {step.address.split("/")[1]: None for step in steps if step.operation.kind in ROWS}
    services = {cube: decoder.service(cube) for cube in cubes}
    shown = {cube: service for cube, service in services.items() if service is not None and service.implementation.derives}
    texts = [step.address.partition("/") for step in steps if step.action == "update"]
    if written := {name for kind, _, name in texts if kind == "topology"}:
        touched = {subject(step.address).partition("/")[2] for step in steps}
        named = (_cubes_of(state, written) for state in (session.live.state, session.desired.state))
        old, new = ({name: cube for name, cube in side.items() if name not in touched} for side in named)
        silent = [name for name in new if name in old and not is_same(old[name], new[name])]
        shown |= {name: service for name in silent if (service := decoder.service(name)) is not None}
    sides = [_cubes(session, state, shown) for state in (session.live.state, session.desired.state)] if shown else []
    found = {}
    for cube, service in shown.items():
        old, new = _apart(service.schema, *(side.get(cube, {}) for side in sides))
        was, now = dict(_flat(service.schema, old)), dict(_flat(service.schema, new))
        if was != now:
            found[cube] = {
                "before": {entry: leaves for entry, leaves in was.items() if now.get(entry) != leaves},
                "after": {entry: leaves for entry, leaves in now.items() if was.get(entry) != leaves},
            }
    return found


def _cubes(session: Session, state: Mapping[str, Any], wanted: Collection[str]) -> dict[str, Mapping[str, Any]]:
    """The cubes of the stored documents that own those in `wanted`."""
    return _cubes_of(state, {record.topology for name in wanted if isinstance(record := state.get(f"cube/{name}"), CubeRecord)})


def _cubes_of(state: Mapping[str, Any], owners: Collection[str]) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for owner in owners:
        if isinstance(record := state.get(f"topology/{owner}"), TopologyRecord):
            found |= {cube["name"]: cube for cube in record.stored.data.get("spec", {}).get("cubes", ())}
    return found


def _apart(schema: Mapping[str, Any], old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both without the common prefixes and suffixes of their lists."""
    ours, theirs = dict(old), dict(new)
    for name, value in old.items():
        other, node = new.get(name), schema.get("properties", {}).get(name, {})
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            ours[name], theirs[name] = _apart(node, value, other)
        elif isinstance(value, list) and isinstance(other, list):
            start, rest = alike(value, other)
            left = [each[start : len(each) - rest] for each in (value, other)]
            if len(left[0]) == len(left[1]) and (keys := node.get("x-yang-key")):
                pairs = [(was, now) for was, now in zip(*left, strict=True)]
                apart = [_apart(node["items"], *pair) if _one(keys, *pair) else pair for pair in pairs]
                left = [[was for was, _ in apart], [now for _, now in apart]]
            ours[name], theirs[name] = left
    return ours, theirs


def _one(keys: Sequence[str], old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether both have the same keys, so that they are one entry."""
    return all(old.get(key) == new.get(key) for key in keys)


def _flat(schema: Mapping[str, Any], cube: Mapping[str, Any]) -> Leaves:
    found: Leaves = {}
    for entry, leaves in entries(schema, cube):
        rest = {leaf: value for leaf, value in leaves.items() if leaf not in _SAID_ELSEWHERE}
        found |= {entry: rest} if entry else rest
    return found
