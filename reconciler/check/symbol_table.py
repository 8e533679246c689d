"""What the documents declare of the graph, with all that is not well formed omitted.

The rules examine these facts, so a port without a name does not hide that another port's peer is missing: whatever is
omitted here has been complained of by the schema.
"""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reconciler.check.schema import Service, Services, service_of
from reconciler.check.schema_check import Draft
from reconciler.document import Path
from reconciler.errors import Hint, Problem


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """The position of a value in a document."""

    draft: Draft
    path: Path

    def __truediv__(self, step: str | int) -> Place:
        return Place(self.draft, (*self.path, step))

    def problem(
        self, message: str, hint: str | Hint = "", *, key: bool = False, related: Sequence[tuple[Place, str]] = ()
    ) -> Problem:
        others = [(place.draft, place.path, note) for place, note in related]
        return self.draft.problem(self.path, message, hint, key=key, related=others)


@dataclass(frozen=True, slots=True)
class PortFact:
    cube: str
    name: str
    hook: str
    peer: str | None
    tcubes: tuple[tuple[str, Place], ...]
    place: Place

    @property
    def full_name(self) -> str:
        return f"{self.cube}:{self.name}"


@dataclass(frozen=True, slots=True)
class CubeFact:
    name: str
    service: Service | None
    hook: str
    ports: tuple[PortFact, ...]
    topology: str
    place: Place

    @property
    def data(self) -> Any:
        """The cube as its document has it."""
        return self.place.draft.data["spec"]["cubes"][self.place.path[-1]]

    @property
    def breaks_loops(self) -> bool:
        return self.service is not None and breaks_loops(self.service.schema, self.data)

    @property
    def is_transparent(self) -> bool:
        return self.service is not None and self.service.kind == "transparent"

    def port(self, name: str) -> PortFact | None:
        return next((port for port in self.ports if port.name == name), None)


@dataclass(frozen=True, slots=True)
class AttachmentFact:
    """`netdev` None: on what the selector `netdevs` matches; with neither it is wrong, and so it is with both."""

    netdev: str | None
    netdevs: str | None
    tcubes: tuple[tuple[str, Place], ...]
    place: Place


@dataclass(frozen=True, slots=True)
class EndFact:
    """One end of a link; `data` is the mapping that describes it."""

    name: str
    netns: str | None
    data: Mapping[str, Any]
    place: Place


@dataclass(frozen=True, slots=True)
class LinkFact:
    kind: str
    end: EndFact
    peer: EndFact | None

    @property
    def ends(self) -> tuple[EndFact, ...]:
        return (self.end,) if self.peer is None else (self.end, self.peer)


@dataclass(frozen=True, slots=True)
class SymbolTable:
    """All documents of one desired set, taken together."""

    topologies: tuple[tuple[str, Place], ...]
    namespaces: tuple[tuple[str, Place], ...]
    links: tuple[LinkFact, ...]
    cubes: tuple[CubeFact, ...]
    attachments: tuple[AttachmentFact, ...]
    by_name: Mapping[str, CubeFact]

    def cube(self, name: str) -> CubeFact | None:
        return self.by_name.get(name)

    @property
    def ports(self) -> Iterator[PortFact]:
        for cube in self.cubes:
            yield from cube.ports


def symbol_table(drafts: Sequence[Draft], services: Services) -> SymbolTable:
    """The facts of all drafts, in the order of the documents."""
    roots = [Place(draft, ()) for draft in drafts]
    specs = [(root / "spec", _mapping(_mapping(root.draft.data).get("spec"))) for root in roots]
    cubes = tuple(cube for place, spec in specs for cube in _cubes(place / "cubes", spec.get("cubes"), services))
    return SymbolTable(
        tuple((name, root / "metadata" / "name") for root in roots if (name := topology_name(root.draft)) is not None),
        tuple(found for place, spec in specs for found in _texts(place / "namespaces", spec.get("namespaces"))),
        tuple(link for place, spec in specs for link in _links(place / "links", spec.get("links"))),
        cubes,
        tuple(found for place, spec in specs for found in _attachments(place / "attachments", spec.get("attachments"))),
        {cube.name: cube for cube in reversed(cubes)},  # of two with one name, the first
    )


def topology_name(draft: Draft) -> str | None:
    return _text(_mapping(_mapping(draft.data).get("metadata")).get("name"))


def _cubes(place: Place, data: Any, services: Services) -> Iterator[CubeFact]:
    for here, entry in _entries(place, data):
        cube = cube_fact(here, entry, services)
        if cube is not None:
            yield cube


def breaks_loops(schema: Mapping[str, Any], cube: Mapping[str, Any]) -> bool:
    """Whether the cube prevents broadcast loops, however it is connected: a leaf that its model names decides."""
    leaves = schema.get("properties", {}).items()
    return any(cube.get(name) is True for name, node in leaves if "x-pcn-breaks-loops" in node)


def cube_fact(here: Place, entry: Mapping[str, Any], services: Services) -> CubeFact | None:
    """The facts of one cube; None if it has no name."""
    name, hook = _text(entry.get("name")), _text(entry.get("type", "TC"))
    if name is None:
        return None
    ports = tuple(_ports(here / "ports", entry.get("ports"), name, hook or ""))
    return CubeFact(name, service_of(entry, services), hook or "", ports, topology_name(here.draft) or "", here)


def _ports(place: Place, data: Any, cube: str, hook: str) -> Iterator[PortFact]:
    for here, entry in _entries(place, data):
        name = _text(entry.get("name"))
        if name is not None:
            tcubes = tuple(_texts(here / "tcubes", entry.get("tcubes")))
            yield PortFact(cube, name, hook, _text(entry.get("peer")), tcubes, here)


def _attachments(place: Place, data: Any) -> Iterator[AttachmentFact]:
    for here, entry in _entries(place, data):
        netdev, netdevs = _text(entry.get("netdev")), _text(entry.get("netdevs"))
        yield AttachmentFact(netdev, netdevs, tuple(_texts(here / "tcubes", entry.get("tcubes"))), here)


def _links(place: Place, data: Any) -> Iterator[LinkFact]:
    for here, entry in _entries(place, data):
        end, kind = _end(here, entry), _text(entry.get("kind"))
        if end is not None and kind is not None:
            yield LinkFact(kind, end, _end(here / "peer", _mapping(entry.get("peer"))))


def _end(place: Place, data: Mapping[str, Any]) -> EndFact | None:
    name = _text(data.get("name"))
    return None if name is None else EndFact(name, _text(data.get("netns")), data, place)


def _entries(place: Place, data: Any) -> Iterator[tuple[Place, Mapping[str, Any]]]:
    for index, entry in enumerate(data if isinstance(data, list) else ()):
        if isinstance(entry, dict):
            yield place / index, entry


def _texts(place: Place, data: Any) -> Iterator[tuple[str, Place]]:
    for index, value in enumerate(data if isinstance(data, list) else ()):
        if isinstance(value, str):
            yield value, place / index


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
