"""Discovery of live cubes with a slow path, and of what a worker needs to serve them: from bpffs and the applied documents.

It runs in the agent, which sends the result to the workers: they need neither documents nor the planner's modules.
"""
from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from reconciler import pins
from reconciler.facts import HOST, SHADOW, of_cube
from reconciler.graph import shadows
from reconciler.graph.cube_part import full_config, told
from reconciler.graph.documents import StoredDocument, is_topology, stored
from reconciler.graph.wiring import family, hidden_pair
from reconciler.kernel import maps, rtnl
from reconciler.kernel.bpffs import Bpffs
from reconciler.kernel.read_cache import ReadCache
from reconciler.kernel.reader import Reader
from reconciler.live.facts import host_facts, published
from reconciler.live.shadows import shadow_facts
from reconciler.model import Cube
from reconciler.service.registry import Services
from reconciler.slowpath.handle import ServedCube

log = logging.getLogger("pcn.slowpath")


@dataclass(frozen=True, slots=True)
class Discovery:
    """Result of one discovery: the `slow` cubes of the applied `documents`, each with the netdev that it is attached to.
    `signature` represents all other inputs of `cubes`, except `facts` of the host. `shared_ring`: map id of the single ring that
    programs of older versions write to, 0 if there is none."""

    documents: tuple[tuple[str, StoredDocument | None], ...]
    slow: tuple[tuple[Cube, str], ...]
    signature: tuple[object, ...]
    cubes: tuple[ServedCube, ...]
    shared_ring: int
    facts: Mapping[str, Any] = field(default_factory=dict)
    memory: ReadCache = field(default_factory=ReadCache, compare=False, repr=False)


def discover(root: str, services: Services, last: Discovery | None) -> Discovery:
    """The live cubes with a slow path; `last` itself if nothing changed. Other cubes are not read."""
    memory = last.memory if last is not None else ReadCache()
    reader = Reader(Bpffs(root), memory)
    names = (name for name in reader.names("topologies") if not name.endswith("~"))
    texts = ((name, reader.document(f"topologies/{name}")) for name in names)
    documents = tuple((name, stored(text) if text else None) for name, text in texts)
    known = last is not None and last.documents == documents
    slow = last.slow if last is not None and known else tuple(_slow(dict(documents), services))
    shared = _map_id(reader, pins.SHARED_SLOWPATH)
    homes = [pins.cube(cube.name) for cube, _ in slow]
    signature = (shared, *((reader.link_text(f"{home}/current"), *reader.names(f"{home}/in")) for home in homes))
    facts = _host_facts(slow, services) | shadow_facts(reader, {cube.name for cube, _ in slow if cube.shadow})
    same = last is not None and known and last.signature == signature and last.facts == facts
    if last is not None and same and all(_is_same(reader, cube) for cube in last.cubes):
        return last
    cubes = tuple(_served(cube, attached, services, reader, facts) for cube, attached in slow)
    return Discovery(documents, slow, signature, cubes, shared, facts, memory)


def _host_facts(slow: Iterable[tuple[Cube, str]], services: Services) -> dict[str, Any]:
    """The facts of the host that slow paths want; not read if there are none."""
    wanted = {fact for cube, _ in slow if (service := services.get(cube.service)) is not None for fact in service.facts}
    return host_facts(wanted, rtnl.links()) if wanted.intersection(HOST) else {}


def _slow(documents: Mapping[str, StoredDocument | None], services: Services) -> Iterator[tuple[Cube, str]]:
    """The cubes with a slow path in these applied documents, each with the netdev that it is attached to."""
    from reconciler.live.applied import applied_document
    from reconciler.live.quarantine import readable, services_of

    found = {name: document for name, document in documents.items() if document is not None and is_topology(document)}
    if not any(has_slow_path(service, services) for document in found.values() for service in services_of(document)):
        return
    topologies, wrong = readable([applied_document(document, pins.unescape(name)) for name, document in found.items()], services)
    for file, why in wrong.items():
        log.error("%s cannot be read, so its slow paths stand still: %s", file, why)
    items = [item for topology in topologies for item in topology.attachments if item.netdev]
    attached = {cube: item.netdev for item in items for cube in item.tcubes}
    for cube in (cube for topology in topologies for cube in topology.cubes):
        service = services.get(cube.service)
        if service is not None and service.is_served(cube.config):
            yield cube, attached.get(cube.name, "")


def has_slow_path(name: str, services: Services) -> bool:
    service = services.get(name)
    return service is not None and service.slow_path is not None


def _is_same(reader: Reader, cube: ServedCube) -> bool:
    """Whether the rings, tables and netdevs of a cube are still the same objects: a recreated one has another id."""
    own = {name: value for name, value in cube.facts.items() if name not in (*HOST, SHADOW)}
    same = cube.ring == _ring(reader, cube.name) and cube.objects == _objects(reader, cube)
    return same and own == published(reader, cube.name)


def _objects(reader: Reader, cube: ServedCube) -> tuple[int, ...]:
    found = [_map_id(reader, path) for path in cube.tables.values()]
    try:
        found.append(socket.if_nametoindex(cube.near))
    except OSError:
        found.append(0)
    return tuple(found)


def _ring(reader: Reader, cube: str) -> int:
    return _map_id(reader, pins.table(cube, "pcn_slowpath"))


def _served(
    cube: Cube, attached: str, services: Services, reader: Reader, of_host: Mapping[str, Any]
) -> ServedCube:
    near, _ = hidden_pair(cube.name, "", family(cube))
    peers = {port.name: port.peer for port in cube.ports if port.peer and ":" not in port.peer}
    if not cube.ports:
        peers = {name: name for name in _places(reader, cube) if ":" not in name}
        attached = "" if peers else attached
    service = services.get(cube.service)
    transparent = service is not None and service.kind == "transparent"
    facts = {}
    if service is not None:
        given = published(reader, cube.name)
        if cube.shadow:
            given[SHADOW] = shadows.fact(of_host[SHADOW][cube.name], told(cube, service))
        facts = of_cube(service.facts, of_host, given)
    found = ServedCube(
        cube.name, cube.service, cube.type, transparent, near, full_config(cube), _indices(reader, cube), peers,
        _tables(reader, cube), attached, cube.loglevel, _ring(reader, cube.name), facts=facts,
    )  # fmt: skip
    return replace(found, objects=_objects(reader, found))


def _indices(reader: Reader, cube: Cube) -> dict[str, int]:
    """Port indices; for a transparent cube that may be attached several times, indices of its attachments, with two trampolines
    each."""
    found = {}
    for entry in reader.names(f"{pins.cube(cube.name)}/in"):
        number, _, name = entry.partition("_")
        found[pins.unescape(name)] = int(number)
    if not cube.ports:
        places = _places(reader, cube)
        return {name: index // 2 for name, index in found.items() if name in places}
    return {name: index for name, index in found.items() if name in {port.name for port in cube.ports}}


def _places(reader: Reader, cube: Cube) -> set[str]:
    return {pins.unescape(name) for name in reader.names(f"{pins.cube(cube.name)}/ports") if not name.endswith("~")}


def _tables(reader: Reader, cube: Cube) -> dict[str, str]:
    """Pin paths by their names in C; the cube's own take precedence over public ones."""
    home = f"{pins.cube(cube.name)}/tables"
    own = {entry.rpartition(":")[2]: f"{home}/{entry}" for entry in reader.names(home)}
    return {name: f"public/{name}" for name in reader.names("public")} | own


def _map_id(reader: Reader, relative: str) -> int:
    """The map id of a pinned map, 0 if there is none."""
    try:
        fd = reader.root.open_pin(relative)
    except OSError:
        return 0
    try:
        return maps.info(fd).identity
    finally:
        os.close(fd)
