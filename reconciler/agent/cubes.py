"""Which live cubes have a slow path, and what is needed to serve them: read off bpffs and the applied documents."""
from __future__ import annotations

import logging
import os
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from reconciler import pins
from reconciler.agent.handle import Facts
from reconciler.graph.intend import full_config
from reconciler.graph.wiring import family, hidden_pair
from reconciler.kernel import maps
from reconciler.kernel.bpffs import Bpffs
from reconciler.kernel.reader import Reader, fold_cpus
from reconciler.model import Cube
from reconciler.service import Services

_NO_SLOWPATH = 3  # enum pcn_drop
log = logging.getLogger("pcn.slowpath")


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen at one look: of the applied documents `texts` the `slow` cubes, each with the netdev that it is attached to.
    `signature` stands for all else that `cubes` was made from."""

    texts: tuple[tuple[str, str | None], ...]
    slow: tuple[tuple[Cube, str], ...]
    signature: tuple[object, ...]
    ring: bool
    ring_id: int
    cubes: tuple[Facts, ...]
    objects: tuple[int, ...]


def look(root: str, services: Services, last: Seen | None) -> Seen:
    """The cubes with a slow path that are live now; `last` itself if nothing has changed since. Of others nothing is read."""
    reader = Reader(Bpffs(root))
    ring_id = _identity(reader, pins.table("", "pcn_slowpath"))
    names = (name for name in reader.names("topologies") if not name.endswith("~"))
    texts = tuple((name, reader.document(f"topologies/{name}")) for name in names)
    known = last is not None and last.texts == texts
    slow = last.slow if last is not None and known else tuple(_slow(dict(texts), services))
    homes = [pins.cube(cube.name) for cube, _ in slow]
    signature = (ring_id, *((reader.link_text(f"{home}/current"), *reader.names(f"{home}/in")) for home in homes))
    if last is not None and known and last.signature == signature and last.objects == _objects(reader, last.cubes):
        return last
    cubes = tuple(_facts(cube, attached, services, reader) for cube, attached in slow)
    return Seen(texts, slow, signature, bool(ring_id), ring_id, cubes, _objects(reader, cubes))


def _slow(texts: Mapping[str, str | None], services: Services) -> Iterator[tuple[Cube, str]]:
    """The cubes with a slow path in these applied documents, each with the netdev that it is attached to."""
    from reconciler.live.sealed import readable, services_of
    from reconciler.survey import applied_document

    if not any(_slow_path(service, services) for text in texts.values() if text for service in services_of(text)):
        return
    topologies, wrong = readable([applied_document(pins.unescape(name), text) for name, text in texts.items() if text], services)
    for file, why in wrong.items():
        log.error("%s cannot be read, so its slow paths stand still: %s", file, why)
    attached = {cube: item.netdev for topology in topologies for item in topology.attachments for cube in item.tcubes}
    for cube in (cube for topology in topologies for cube in topology.cubes):
        if _slow_path(cube.service, services):
            yield cube, attached.get(cube.name, "")


def _slow_path(name: str, services: Services) -> bool:
    service = services.get(name)
    return service is not None and service.slow_path is not None


def _objects(reader: Reader, cubes: Iterable[Facts]) -> tuple[int, ...]:
    """The kernel's numbers of what is used by name: a table or netdev that is made anew is another one."""
    found = []
    for facts in cubes:
        found += [_identity(reader, path) for path in facts.tables.values()]
        try:
            found.append(socket.if_nametoindex(facts.near))
        except OSError:
            found.append(0)
    return tuple(found)


def _facts(cube: Cube, attached: str, services: Services, reader: Reader) -> Facts:
    near, _ = hidden_pair(cube.name, "", family(cube))
    peers = {port.name: port.peer for port in cube.ports if port.peer and ":" not in port.peer}
    service = services.get(cube.service)
    transparent = service is not None and service.kind == "transparent"
    return Facts(
        cube.name, cube.service, cube.type, transparent, near, full_config(cube), _indices(reader, cube), peers,
        _tables(reader, cube), attached,
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


def _identity(reader: Reader, relative: str) -> int:
    """The id of a pinned map, 0 if there is none."""
    try:
        fd = reader.root.open_pin(relative)
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
