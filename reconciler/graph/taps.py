"""Inserts taps into topologies: the desired state is that of the documents, plus the taps that running commands request.
Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from reconciler.model import Attachment, Cube, Port, Tap, Topology


def with_taps(topologies: Sequence[Topology], taps: Iterable[Tap]) -> list[Topology]:
    """Each topology with the taps that are at its cubes' ports, or at netdevs where it has an attachment. Its document stays as
    it is: a tap is part of none. A tap whose place is not there is omitted."""
    found = list(topologies)
    for tap in taps:
        for number, topology in enumerate(found):
            placed = _at_port(topology, tap) if ":" in tap.place else _at_netdev(topology, tap)
            if placed is not None:
                found[number] = replace(placed, cubes=(*placed.cubes, replace(tap.cube, topology=topology.name)))
                break
    return found


def _at_port(topology: Topology, tap: Tap) -> Topology | None:
    owner, _, name = tap.place.partition(":")
    for cube in topology.cubes:
        port = next((each for each in cube.ports if cube.name == owner and each.name == name), None)
        among = _among(port.tcubes, tap) if port is not None else None
        if port is not None and among is not None:
            ports = tuple(_with(each, among) if each is port else each for each in cube.ports)
            cubes = tuple(replace(each, ports=ports) if each is cube else each for each in topology.cubes)
            return replace(topology, cubes=cubes)
    return None


def _with(port: Port, tcubes: tuple[str, ...]) -> Port:
    return replace(port, tcubes=tcubes)


def _at_netdev(topology: Topology, tap: Tap) -> Topology | None:
    for attachment in topology.attachments:
        among = _among(attachment.tcubes, tap) if attachment.netdev == tap.place else None
        if among is not None:
            changed = Attachment(attachment.netdev, among)
            return replace(topology, attachments=tuple(changed if each is attachment else each for each in topology.attachments))
    return None


def _among(tcubes: tuple[str, ...], tap: Tap) -> tuple[str, ...] | None:
    """The cubes of a place, from the wire inwards, with the tap; None if what it is to be outside of is not among them."""
    if tap.outside and tap.outside not in tcubes:
        return None
    at = tcubes.index(tap.outside) if tap.outside else len(tcubes)
    return (*tcubes[:at], tap.cube.name, *tcubes[at:])


def places(topologies: Iterable[Topology]) -> dict[str, Cube | None]:
    """Where a tap can be: ports with their cubes, and netdevs with attachments by name."""
    found: dict[str, Cube | None] = {}
    for topology in topologies:
        found |= {f"{cube.name}:{port.name}": cube for cube in topology.cubes for port in cube.ports}
        found |= {attachment.netdev: None for attachment in topology.attachments if attachment.netdev}
    return found
