"""Lowers a valid draft to a `Topology`, and its canonical document.

The document is what the kernel stores and later applies are compared with: the user's content in the models' order, with
normalised values and both sides of each peering, but without leaves that have their default.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconciler.check.cube_memo import MEMO
from reconciler.check.defaults import fill, strip
from reconciler.check.schema import Services, service_of, topology_schema
from reconciler.check.schema_check import Draft
from reconciler.model import Attachment, Cube, Link, LinkEnd, Port, Route, Topology

Peers = Mapping[tuple[str, str], str]
"""Peers of ports that do not name one themselves: (cube, port) to the other cube's port."""

_END = ("name", "netns", "addresses", "routes", "mtu", "mac", "up")
_OF_THE_CUBE = ("name", "service-name", "type", "loglevel", "fuse", "shadow", "span", "ports")
_OF_THE_PORT = ("name", "peer", "tcubes")


def topology(draft: Draft, peers: Peers) -> Topology:
    """The topology of a draft in which nothing is wrong."""
    data = draft.data
    bare: dict[str, Any] = strip(topology_schema(), {**data, "spec": {**data["spec"], "cubes": []}})
    name = bare["metadata"]["name"]
    fuse = data["spec"].get("fuse", True)
    built = [_built(cube, name, fuse, peers, draft.services) for cube in data["spec"].get("cubes", ())]
    parts = {**bare["spec"], "cubes": [canonical for canonical, _ in built]} if built else bare["spec"]
    spec = {part: parts[part] for part in data["spec"] if part in parts}
    document = {**bare, "spec": spec}
    filled = fill(topology_schema(), {**bare, "spec": {**spec, "cubes": []}})["spec"]
    return Topology(
        name=name,
        namespaces=tuple(spec.get("namespaces", ())),
        links=tuple(_link(link) for link in filled.get("links", ())),
        cubes=tuple(cube for _, cube in built),
        attachments=tuple(_attachment(entry) for entry in spec.get("attachments", ())),
        document=document,
    )


def _built(
    cube: dict[str, Any], topology: str, fuse: bool, peers: Peers, services: Services
) -> tuple[dict[str, Any], Cube]:
    """A cube's canonical data and itself; as the last time if it and its peers are the same."""
    key = topology, fuse, *(peers.get((cube["name"], port["name"])) for port in cube.get("ports", ()))
    right = MEMO().of_normal(cube)
    if right is not None and right.built is not None and right.key == key:
        return right.built
    canonical = strip(_schema(cube, services), _with_peers(cube, peers, services))
    built = canonical, _cube(canonical, topology, fuse, services)
    if right is not None:
        right.key, right.built = key, built
    return built


def _with_peers(cube: dict[str, Any], peers: Peers, services: Services) -> dict[str, Any]:
    """The cube with the peers that were only named from the other side."""
    if not any((cube["name"], port["name"]) in peers for port in cube.get("ports", ())):
        return cube
    order = _schema(cube, services)["properties"]["ports"]["items"]["properties"]
    return {**cube, "ports": [_with_peer(port, peers.get((cube["name"], port["name"])), order) for port in cube["ports"]]}


def _with_peer(port: dict[str, Any], peer: str | None, order: Mapping[str, Any]) -> dict[str, Any]:
    named = port if peer is None else {**port, "peer": peer}
    return {name: named[name] for name in order if name in named}


def _cube(data: dict[str, Any], topology: str, fuse: bool, services: Services) -> Cube:
    filled = fill(_schema(data, services), data)
    return Cube(
        name=filled["name"], service=filled["service-name"], topology=topology,
        type=filled["type"], loglevel=filled["loglevel"], fuse=fuse and filled.get("fuse", True),
        ports=tuple(_port(port) for port in filled.get("ports", ())),
        config=_without(filled, _OF_THE_CUBE), shadow=filled.get("shadow", False), span=filled.get("span", False),
    )


def _port(data: dict[str, Any]) -> Port:
    return Port(data["name"], data.get("peer"), tuple(data.get("tcubes", ())), _without(data, _OF_THE_PORT))


def _link(data: dict[str, Any]) -> Link:
    peer = data.get("peer")
    return Link(data["kind"], _end(data), _end(peer) if peer else None, _without(data, (*_END, "kind", "peer")))


def _attachment(data: dict[str, Any]) -> Attachment:
    return Attachment(data.get("netdev", ""), tuple(data["tcubes"]), data.get("netdevs", ""))


def _end(data: dict[str, Any]) -> LinkEnd:
    routes = tuple(Route(route["to"], route.get("via")) for route in data.get("routes", ()))
    addresses = tuple(data.get("addresses", ()))
    return LinkEnd(data["name"], data.get("netns"), addresses, routes, data.get("mtu"), data.get("mac"), data["up"])


def _schema(cube: dict[str, Any], services: Services) -> Mapping[str, Any]:
    service = service_of(cube, services)
    assert service is not None, "a draft with an unknown service has a problem"
    return service.schema


def _without(data: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name not in names}
