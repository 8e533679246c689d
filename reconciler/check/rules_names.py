"""Rules for names: they become directories in bpffs, arguments on command lines, and devices."""
from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from reconciler.check.messages import quoted
from reconciler.check.symbol_table import Place, SymbolTable
from reconciler.errors import Problem

OBJECT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
"""Cubes, ports and topologies: nothing that a path or a shell could take for something else."""
_OBJECT_RULE = "a name is at most 63 letters, digits, '_', '.' and '-', and starts with a letter or a digit"
IFNAMSIZ = 16  # with the final NUL
_KERNEL_SPACE = b"\xa0"


def names(world: SymbolTable) -> Iterator[Problem]:
    """Names that cannot be used."""
    for what, name, place in _object_names(world):
        if not OBJECT_NAME.fullmatch(name):
            yield place.problem(f"{quoted(name)} cannot be the name of a {what}", _OBJECT_RULE)
    for name, place in world.namespaces:
        if not name.isprintable() or "/" in name or name.startswith(".") or len(name.encode()) > 64:
            yield place.problem(f"{quoted(name)} cannot be the name of a network namespace")
    for name, place in _netdev_names(world):
        if fault := netdev_fault(name):
            yield place.problem(f"{quoted(name)} cannot be the name of a network device: {fault}")


def unique_names(world: SymbolTable) -> Iterator[Problem]:
    """Names that are unique on the host and are declared twice. Two in one document have one list key, which the schema
    reports."""
    cubes = ((cube.name, cube.place) for cube in world.cubes)
    yield from _twice("cube", cubes)
    yield from _twice("namespace", world.namespaces)
    yield from _twice("netdev", ((item.netdev, item.place / "netdev") for item in world.attachments if item.netdev is not None))


def max_ports(world: SymbolTable) -> Iterator[Problem]:
    """A cube's ports are numbered, and its service declares how many numbers there are."""
    for cube in world.cubes:
        if cube.service is not None and not cube.is_transparent and len(cube.ports) > cube.service.max_ports:
            most = f"a {cube.service.name} has at most {cube.service.max_ports}"
            yield (cube.place / "ports").problem(f"{quoted(cube.name)} has {len(cube.ports)} ports; {most}")


def netdev_fault(name: str) -> str:
    """Why the kernel would refuse this name for a network device; '' if it would not."""
    if len(name.encode()) >= IFNAMSIZ:
        return f"it has more than {IFNAMSIZ - 1} bytes"
    if name in ("", ".", "..") or not name.isprintable() or any(character in "/:" or character.isspace() for character in name):
        return "it is '.' or '..', or has a space, '/' or ':' in it"
    if "%" in name:
        return "it has a '%' in it, by which the kernel would make up another name"
    if _KERNEL_SPACE in name.encode():
        return "its UTF-8 form has the byte 0xa0, which the kernel takes for a space"
    if name in ("all", "default"):
        return "the kernel keeps it for settings of all devices"
    return ""


def _object_names(world: SymbolTable) -> Iterator[tuple[str, str, Place]]:
    for name, place in world.topologies:
        yield "topology", name, place
    for cube in world.cubes:
        yield "cube", cube.name, cube.place / "name"
    for port in world.ports:
        yield "port", port.name, port.place / "name"


def _netdev_names(world: SymbolTable) -> Iterator[tuple[str, Place]]:
    for port in world.ports:
        if port.peer is not None and ":" not in port.peer:
            yield port.peer, port.place / "peer"
    for attachment in world.attachments:
        if attachment.netdev is not None:
            yield attachment.netdev, attachment.place / "netdev"
    for link in world.links:
        for end in link.ends:
            yield end.name, end.place / "name"
        if isinstance(parent := link.end.data.get("link"), str):
            yield parent, link.end.place / "link"


def _twice(what: str, found: Iterable[tuple[str, Place]]) -> Iterator[Problem]:
    first: dict[str, Place] = {}
    for name, place in found:
        other = first.setdefault(name, place)
        if other.draft is not place.draft:
            yield place.problem(f"{what} {quoted(name)} is in another topology already", related=[(other, "it is here")])
