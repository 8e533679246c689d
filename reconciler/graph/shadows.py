"""Shadows: the objects that accompany a cube with `shadow`. Pure.

A namespace pcn-CUBE, with a netdev for each port; and an internal transparent cube, through which packets from such a netdev
leave by the port. With `span` it is also the innermost one at each port, and copies passing packets into the namespace.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from reconciler import pins
from reconciler.graph.records import HookRecord, LinkRecord, NamespaceRecord, NextHopRecord, Record
from reconciler.incremental.memo import derived
from reconciler.model import Cube, Link, LinkEnd, Port, Route, Topology
from reconciler.service.registry import SHADOW

MOST_ROUTES = 40


def with_shadows(topologies: Sequence[Topology]) -> list[Topology]:
    """Each topology with the transparent cubes of its shadows; the same object for the same one. Its document stays as it is."""
    return [_with_shadows(topology) if any(cube.shadow for cube in topology.cubes) else topology for topology in topologies]


@derived
def _with_shadows(topology: Topology) -> Topology:
    hidden = [
        Cube(pins.shadow(cube.name), SHADOW, topology.name, cube.type, cube.loglevel, fuse=cube.fuse)
        for cube in topology.cubes
        if cube.shadow
    ]
    return replace(topology, cubes=(*(_watched(cube) if cube.span else cube for cube in topology.cubes), *hidden))


def _watched(cube: Cube) -> Cube:
    return replace(cube, ports=tuple(replace(port, tcubes=(*port.tcubes, pins.shadow(cube.name))) for port in cube.ports))


def places(topologies: Sequence[Topology]) -> dict[str, tuple[str, ...]]:
    """Where the transparent cubes of shadows are: at every port."""
    cubes = [cube for topology in topologies for cube in topology.cubes if cube.shadow]
    return {pins.shadow(cube.name): tuple(f"{cube.name}:{port.name}" for port in cube.ports) for cube in cubes}


def near_end(cube: str, port: str) -> str:
    """The netdev whose peer is the one in the namespace that has the port's name."""
    return f"pcn{zlib.crc32(f'{cube}:{port} shadow'.encode()):08x}n"


def network(cube: Cube, told: Mapping[str, Mapping[str, Any]]) -> Iterator[Record]:
    """The namespace and its netdevs. `told`: their configuration by the service, by port."""
    namespace = pins.shadow_namespace(cube.name)
    yield NamespaceRecord(namespace, cube.topology)
    for port in cube.ports:
        far = end(port.name, namespace, told.get(port.name, {}))
        options = {"quiet": True, "told": pins.told(cube.name, port.name)}
        yield LinkRecord(Link("veth", LinkEnd(near_end(cube.name, port.name)), far, options), cube.topology)


def kept_in_a_page(told: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """As many routes as fit into a symlink with the rest of a netdev's configuration."""
    return {port: {**said, "routes": said["routes"][:MOST_ROUTES]} if "routes" in said else said for port, said in told.items()}


def end(port: str, namespace: str, told: Mapping[str, Any]) -> LinkEnd:
    """A netdev in the namespace with its configuration."""
    routes = tuple(Route(route["to"], route["via"]) for route in told.get("routes", ()))
    return LinkEnd(port, namespace, tuple(told.get("addresses", ())), routes, mac=told.get("mac"))


def ways(cube: Cube, port: Port, indices: Mapping[str, Mapping[str, int]], out: str) -> Iterator[Record]:
    """The hops into the namespace from a port, and out of it: to the stub `out`."""
    near, hidden = near_end(cube.name, port.name), pins.shadow(cube.name)
    yield HookRecord(near, "tcx_ingress", out)
    yield NextHopRecord(cube.name, pins.SHADOW, indices[cube.name][port.name], "netdev", near)
    yield NextHopRecord(hidden, pins.SHADOW, indices[hidden][f"{cube.name}:{port.name}"], "netdev", near)


def as_imported(seen: Mapping[str, Mapping[str, Any]], held: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The observed values from which the rows of `held` (a namespace's configuration) were derived; if the present ones
    result in the same, just these."""
    found = {}
    for port, now in seen.items():
        then = {part: held[port][part] for part in ("mac", "addresses", "routes") if part in held.get(port, {})}
        said = {"addresses": (), "routes": now["told"].get("routes", ())}
        same = {part: now[part] for part in said if part in then and _alike(then[part], now[part], said[part])}
        found[port] = {**now, **then, **same}
    return found


def _alike(one: Sequence[Any], other: Sequence[Any], told: Sequence[Any]) -> bool:
    """In another order, or without what the document declares anyway."""
    return all(each in other or each in told for each in one) and all(each in one or each in told for each in other)


def fact(seen: Mapping[str, Mapping[str, Any]], told: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """A service's view of its cube's namespace, by port, once that has the configuration `told`: `mac`, `addresses`, and
    those `routes` that are the namespace's own. `seen`: the namespace now, with its last configuration."""
    found = {}
    for port, now in seen.items():
        old, wanted = now["told"], told.get(port, {})
        gone = [each for each in old.get("addresses", ()) if each not in wanted.get("addresses", ())]
        fresh = [each for each in wanted.get("addresses", ()) if each not in old.get("addresses", ())]
        kept = [each for each in now["addresses"] if each not in gone and each not in fresh]
        mac = wanted["mac"] if wanted.get("mac") not in (None, old.get("mac")) else now["mac"]
        given = [*old.get("routes", ()), *wanted.get("routes", ())]
        routes = [route for route in now["routes"] if route not in given]
        found[port] = {"mac": mac, "addresses": [*fresh, *kept], "routes": routes}
    return found
