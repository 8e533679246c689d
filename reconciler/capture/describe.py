"""Describes a live cube that captures: its places, and the reader's settings in its configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from reconciler import pins
from reconciler.capture.follow import TABLE, Capture
from reconciler.engine.builder import Builder
from reconciler.engine.session import Reconciler
from reconciler.errors import UsageError
from reconciler.kernel.bpffs import Bpffs
from reconciler.model import Cube, Topology
from reconciler.service.registry import Services


def describe(root: str, services: Services, name: str) -> tuple[Capture, Cube]:
    """The capture of a cube, and the cube. Raises UsageError if no such cube is applied."""
    from reconciler.document.suggest import did_you_mean

    reconciler = Reconciler(root, services, Builder(services, root=root, stored=True))
    applied, live = reconciler.applied(reconciler.live())
    cubes = {cube.name: cube for topology in applied for cube in topology.cubes}
    if name not in cubes:
        hint = did_you_mean(name, cubes)
        raise UsageError(f"there is no cube {name!r}" + (f"; {hint}" if hint else ""))
    if not captures(root, name):
        raise UsageError(f"cube {name} captures nothing: its service has no captures")
    cube, config = cubes[name], cubes[name].config
    found = Capture(
        name,
        places_of(cube, applied, live.ports.get(name, {})),
        int(config.get("snaplen", 262144)),
        str(config.get("filter", "")),
        f"cube {name} ({cube.service}) of topology {cube.topology}",
        bool(config.get("anonimize", False)),
    )
    return found, cube


def captures(root: str, name: str) -> bool:
    """Whether a live cube has a capture ring."""
    return TABLE in Bpffs(root).names(f"cubes/{pins.escape(name)}/tables")


def places_of(cube: Cube, topologies: Iterable[Topology], indices: Mapping[str, int]) -> dict[int, str]:
    """The places of a cube's packets by index: its ports in the kernel, or the attachment in the documents for a transparent cube
    at one place."""
    if indices:
        return {index: place for place, index in sorted(indices.items(), key=lambda item: item[1])}
    for topology in topologies:
        for attachment in topology.attachments:
            if cube.name in attachment.tcubes:
                return {0: attachment.netdev or attachment.netdevs}
        for other in topology.cubes:
            for port in other.ports:
                if cube.name in port.tcubes:
                    return {0: f"{other.name}:{port.name}"}
    return {0: cube.name}
