"""Replaces altnames of netdevs in topologies by the netdevs' own names. Pure.

Everything behind this, and everything that the kernel stores but the document, has the netdev's own name. If a netdev is
referred to by several of its names, these stay as they are, and wait: whether two places at one netdev are compatible was
checked by name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from reconciler.incremental.memo import derived
from reconciler.model import Cube, Topology


def own_names(written: Collection[str], netdevs: Mapping[str, Any]) -> dict[str, str]:
    """The own names of netdevs by those altnames among `written` that represent one that nothing else there does."""
    others = {other: name for name, netdev in netdevs.items() for other in netdev.other_names}
    found = {other: others[other] for other in written if other in others and other not in netdevs}
    meant = list(found.values())
    return {other: name for other, name in found.items() if name not in written and meant.count(name) == 1}


def with_own_names(topologies: Sequence[Topology], netdevs: Mapping[str, Any]) -> Sequence[Topology]:
    """The topologies with the own names of netdevs where ports and attachments have altnames; documents stay as they are."""
    known = own_names({name for topology in topologies for name in _written(topology)}, netdevs)
    return [_renamed(topology, known) for topology in topologies] if known else topologies


def _written(topology: Topology) -> Iterator[str]:
    yield from (port.peer for cube in topology.cubes for port in cube.ports if port.peer)
    yield from (attachment.netdev for attachment in topology.attachments if attachment.netdev)


def _renamed(topology: Topology, known: Mapping[str, str]) -> Topology:
    """The same object for the same topology, for what follows from it is worked out once for each."""
    here = {name: known[name] for name in _written(topology) if name in known}
    return _with_names(topology, frozenset(here.items())) if here else topology


@derived
def _with_names(topology: Topology, names: frozenset[tuple[str, str]]) -> Topology:
    here = dict(names)
    return replace(
        topology,
        cubes=tuple(_of_cube(cube, here) for cube in topology.cubes),
        attachments=tuple(replace(each, netdev=here.get(each.netdev, each.netdev)) for each in topology.attachments),
    )


def _of_cube(cube: Cube, here: Mapping[str, str]) -> Cube:
    if not any(port.peer in here for port in cube.ports):
        return cube
    return replace(cube, ports=tuple(replace(port, peer=here.get(port.peer or "", port.peer)) for port in cube.ports))
