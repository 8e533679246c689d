"""Which netdevs have to hear frames for other stations: those that filter by MAC, where a bridge has a port. Pure.

Linux' own bridge does the same. A veth or a tap hands all that it gets to the programs at its hooks anyway.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from reconciler.graph.records import PromiscuousRecord
from reconciler.model import Topology
from reconciler.service.registry import Services

FILTERING = frozenset({"", "vlan", "bond", "team", "bridge", "macvlan"})  # '': hardware


def promiscuous(topologies: Sequence[Topology], services: Services, kinds: Mapping[str, str]) -> Iterator[PromiscuousRecord]:
    """`kinds` are those of the netdevs that there are, or will be."""
    for topology in topologies:
        for cube in topology.cubes:
            service = services.get(cube.service)
            if service is not None and service.floods:
                for port in cube.ports:
                    if kinds.get(port.peer or "", "none") in FILTERING:
                        yield PromiscuousRecord(str(port.peer), topology.name)
