"""The graph after netdevs came or went at plain ports: its hooks and hops are known, and only some of them are there now.

A port is plain if a packet that leaves it meets nothing more before its netdev, and one that arrives nothing before its cube. All
that follows from its netdev is one hook and one hop, which the ways of the graph have whether it is there or not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from reconciler.graph.parts import Desired
from reconciler.graph.records import Grouped, HookRecord, NextHopRecord, Record, RecordGroup
from reconciler.model import Cube, Port, family_of
from reconciler.service.registry import Services


def with_netdevs(
    desired: Desired,
    came: Collection[str],
    gone: Collection[str],
    cubes: Iterable[Cube],
    services: Services,
    others: Collection[str],
) -> Desired | None:
    """`desired` with these netdevs, and without those that are gone; None if another port than a plain one waits for one of them,
    or one of `others`, where transparent cubes are attached."""
    moved = {*came, *gone}
    ports = {port.peer: (cube, port) for cube in cubes for port in cube.ports if port.peer in moved}
    if not moved.isdisjoint(others) or not all(_is_plain(cube, port, services) for cube, port in ports.values()):
        return None
    state = desired.state
    if not ports or not isinstance(state, Grouped):
        return desired if not ports else None
    groups: dict[str, dict[str, Record]] = {}
    for record, netdev in _ways_by(desired.ways, moved):
        owner = record.cube if isinstance(record, NextHopRecord) else ""
        group = groups.setdefault(owner, dict(state.groups[owner]))
        if netdev in gone:
            group.pop(record.address, None)
        else:
            group[record.address] = record
    waiting = [each for each in desired.pending if each[2] not in moved]
    waiting += [(ports[netdev][0].name, ports[netdev][1].name, netdev) for netdev in ports.keys() & {*gone}]
    found = state.but({owner: RecordGroup(group) for owner, group in groups.items()})
    return replace(desired, state=found, pending=tuple(sorted(waiting, key=lambda each: each[2])))


def _is_plain(cube: Cube, port: Port, services: Services) -> bool:
    service = services.get(cube.service)
    if service is None or family_of(cube.type) != "TC" or cube.shadow or port.tcubes:
        return False
    return not (service.floods or service.floods_groups or service.programs("egress"))


def _ways_by(ways: Iterable[Record], netdevs: Collection[str]) -> Iterator[tuple[HookRecord | NextHopRecord, str]]:
    """Those of the ways that begin or end at one of these netdevs, and at which."""
    for record in ways:
        if isinstance(record, HookRecord) and record.netdev in netdevs:
            yield record, record.netdev
        elif isinstance(record, NextHopRecord) and record.kind == "netdev" and record.target in netdevs:
            yield record, record.target
