"""What the agent does even where healing is off: cubes follow netdevs and the facts that they want."""
from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from reconciler.engine.apply import ApplyResult
from reconciler.facts import SHADOW
from reconciler.graph.diff import Change
from reconciler.graph.records import (
    HookRecord,
    MemberRecord,
    NextHopRecord,
    PortRecord,
    PromiscuousRecord,
    TableRecord,
    TrampolineRecord,
)
from reconciler.kernel import rtnl
from reconciler.kernel.bpffs import Bpffs
from reconciler.kernel.reader import Reader
from reconciler.live.facts import host_facts
from reconciler.live.shadows import shadow_facts
from reconciler.service.registry import Services


def facts_changed(facts: Mapping[str, Any], root: str = "") -> bool:
    """Whether any of these facts of the host changed, or the netdevs in the namespaces of this root's shadows."""
    of_host = {name: value for name, value in facts.items() if name != SHADOW}
    if of_host and host_facts(of_host, rtnl.links()) != of_host:
        return True
    return SHADOW in facts and shadow_facts(Reader(Bpffs(root)), facts[SHADOW])[SHADOW] != facts[SHADOW]


def only_follows(
    seen: ApplyResult, services: Services, moved: Collection[str], facts: Mapping[str, Any], published: Mapping[str, Any]
) -> bool:
    """Whether all drift results from netdevs that `moved`, or from changes since `facts` of the host and `published` ones of
    workers."""
    return all(is_followed(seen.session.drift, moved, followers(seen, services, facts, published)))


def is_followed(drift: Sequence[Change], netdevs: Collection[str], following: Collection[str]) -> Iterator[bool]:
    """For each change, whether it results from netdevs that appeared, disappeared or changed, or from facts that the cubes
    `following` want."""
    placed = places_at(drift, netdevs)
    for change in drift:
        yield concerns(change, netdevs) or is_rows_of(change, following) or is_way_of(change, placed)


def concerns(change: Change, netdevs: Collection[str]) -> bool:
    """Whether a change concerns the connection of one of these netdevs."""
    for record in (change.before, change.after):
        if isinstance(record, HookRecord | MemberRecord | PromiscuousRecord) and record.netdev in netdevs:
            return True
        if isinstance(record, NextHopRecord) and record.kind == "netdev" and record.target in netdevs:
            return True
    return False


def places_at(changes: Iterable[Change], netdevs: Collection[str]) -> set[str]:
    """The cubes whose selector starts or stops to match one of these netdevs."""
    records = (record for change in changes for record in (change.before, change.after))
    return {record.cube for record in records if isinstance(record, PortRecord) and record.peer == record.name in netdevs}


def is_way_of(change: Change, cubes: Collection[str]) -> bool:
    """Whether a change is a port, trampoline or hop of these cubes."""
    records = [record for record in (change.before, change.after) if record is not None]
    return all(isinstance(each, PortRecord | TrampolineRecord | NextHopRecord) and each.cube in cubes for each in records)


def is_rows_of(change: Change, cubes: Collection[str]) -> bool:
    """Whether a change is rows of these cubes' tables."""
    return all(isinstance(each, TableRecord) and each.cube in cubes for each in (change.before, change.after))


def followers(
    seen: ApplyResult, services: Services, facts: Mapping[str, Any], published: Mapping[str, Mapping[str, Any]]
) -> set[str]:
    """The cubes that want a fact which changed since the last poll in sync, which had `facts` and `published`."""
    session = seen.session
    changed = {name for name, value in session.facts.items() if facts.get(name, value) != value}
    cubes = {cube.name: services.get(cube.service) for topology in seen.wanted for cube in topology.cubes}
    found = {name for name, service in cubes.items() if service is not None and changed.intersection(service.facts)}
    return found | {name for name in cubes if session.live.published.get(name) != published.get(name)}
