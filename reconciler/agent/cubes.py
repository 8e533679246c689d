"""Which live cubes have a slow path, and what is needed to serve them: read off bpffs and the applied documents."""
from __future__ import annotations

import json
import logging
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from reconciler import pins
from reconciler.agent.handle import Facts
from reconciler.document import Document
from reconciler.graph.intend import full_config
from reconciler.graph.wiring import family, hidden_pair
from reconciler.kernel import bpf, maps
from reconciler.kernel.bpffs import Bpffs
from reconciler.kernel.reader import Reader, fold_cpus
from reconciler.model import Cube, Topology
from reconciler.service import Services

_NO_SLOWPATH = 3  # enum pcn_drop
log = logging.getLogger("pcn.slowpath")


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen at one look. `signature` stands for all that `cubes` was made from."""

    signature: tuple[object, ...]
    ring: bool
    ring_id: int
    cubes: tuple[Facts, ...]
    objects: tuple[int, ...]


def look(root: str, services: Services, last: Seen | None) -> Seen:
    """The cubes that are live now; `last` itself if nothing has changed since."""
    reader = Reader(Bpffs(root))
    ring_id = _identity(f"{root}/{pins.table('', 'pcn_slowpath')}")
    texts = {name: reader.document(f"topologies/{name}") for name in reader.names("topologies") if not name.endswith("~")}
    links = {name: reader.link_text(f"cubes/{name}/current") for name in reader.names("cubes")}
    ports = {name: tuple(reader.names(f"cubes/{name}/in")) for name in links}
    signature = (ring_id, tuple(texts.items()), tuple(links.items()), tuple(ports.items()))
    if last is not None and last.signature == signature and last.objects == _objects(reader, last.cubes):
        return last
    documents = [Document(f"applied topology {name}", text, json.loads(text), 0) for name, text in texts.items() if text]
    cubes: tuple[Facts, ...] = ()
    if documents:
        from reconciler.live.sealed import readable

        topologies, wrong = readable(documents, services)
        for file, why in wrong.items():
            log.error("%s cannot be read, so its slow paths stand still: %s", file, why)
        cubes = tuple(_facts(topologies, services, reader))
    return Seen(signature, bool(ring_id), ring_id, cubes, _objects(reader, cubes))


def _objects(reader: Reader, cubes: Iterable[Facts]) -> tuple[int, ...]:
    """The kernel's numbers of what is used by name: a table or netdev that is made anew is another one."""
    found = []
    for facts in cubes:
        found += [_identity(reader.root.path(path)) for path in facts.tables.values()]
        try:
            found.append(socket.if_nametoindex(facts.near))
        except OSError:
            found.append(0)
    return tuple(found)


def _facts(topologies: list[Topology], services: Services, reader: Reader) -> Iterator[Facts]:
    attached = {cube: item.netdev for topology in topologies for item in topology.attachments for cube in item.tcubes}
    for topology in topologies:
        for cube in topology.cubes:
            service = services.get(cube.service)
            if service is not None and service.slow_path is not None:
                near, _ = hidden_pair(cube.name, "", family(cube))
                yield Facts(
                    cube.name, cube.service, cube.type, service.kind == "transparent", near,
                    full_config(cube), _indices(reader, cube),
                    {port.name: port.peer for port in cube.ports if port.peer and ":" not in port.peer},
                    _tables(reader, cube), attached.get(cube.name, ""),
                )  # fmt: skip


def _indices(reader: Reader, cube: Cube) -> dict[str, int]:
    found = {}
    for entry in reader.names(f"{pins.cube(cube.name)}/in"):
        number, _, name = entry.partition("_")
        found[pins.unescape(name)] = int(number)
    return {name: index for name, index in found.items() if name in {port.name for port in cube.ports}}


def _tables(reader: Reader, cube: Cube) -> dict[str, str]:
    """Pins by the names in C; the cube's own go before public ones."""
    home = f"{pins.cube(cube.name)}/tables"
    own = {entry.rpartition(":")[2]: f"{home}/{entry}" for entry in reader.names(home)}
    return {name: f"public/{name}" for name in reader.names("public")} | own


def _identity(path: str) -> int:
    """The id of a pinned map, 0 if there is none."""
    try:
        fd = bpf.open_pin(path)
    except OSError:
        return 0
    try:
        return maps.info(fd).identity
    finally:
        os.close(fd)


def lost(root: str, cube: str) -> int:
    """Packets for the slow path that found no room in the ring, by the kernel's count."""
    with suppress(OSError):
        found = Reader(Bpffs(root)).rows(pins.table(cube, "pcn_drops"))
        if found is not None:
            value = found[1].get(struct.pack("<I", _NO_SLOWPATH), b"")
            return int.from_bytes(fold_cpus(found[0], value), "little") if value else 0
    return 0
