"""Rules for leaves that name a port of their own cube (`x-pcn-ref`)."""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from reconciler.check.messages import quoted
from reconciler.check.symbol_table import CubeFact, Place
from reconciler.document.suggest import near_miss
from reconciler.errors import Problem
from reconciler.incremental.memo import derived


def references(cube: CubeFact) -> Iterator[Problem]:
    """Names of ports that the cube does not have."""
    if cube.service is None or not _refers(cube.service.schema):
        return
    ports = frozenset(port.name for port in cube.ports)
    for name, place in _in_object(cube.service.schema, cube.data, cube.place):
        if name not in ports:
            message = f"{quoted(cube.name)} has no port {quoted(name)}"
            yield place.problem(message, near_miss(name, lambda: ports), related=[(cube.place, "the cube is here")])


def _in_object(schema: Mapping[str, Any], data: Any, place: Place) -> Iterator[tuple[str, Place]]:
    if isinstance(data, dict):
        for name, part in _referring(schema):
            if name in data:
                yield from _in_value(part, data[name], place / name)


def _in_value(schema: Mapping[str, Any], value: Any, place: Place) -> Iterator[tuple[str, Place]]:
    """The names of ports in a value, each with its place."""
    if isinstance(value, list):
        entries = schema.get("items", {})
        if "x-pcn-ref" in schema:  # a leaf-list says it of all its entries
            entries = {**entries, "x-pcn-ref": schema["x-pcn-ref"]}
        names = {name for name, _ in _referring(entries)}
        for index, entry in enumerate(value):
            if isinstance(entry, dict) and names.isdisjoint(entry):
                continue  # as most of a long list
            yield from _in_value(entries, entry, place / index)
    elif schema.get("x-pcn-ref") == "port" and isinstance(value, str):
        yield value, place
    else:
        yield from _in_object(schema, value, place)


Parts = tuple[tuple[str, Mapping[str, Any]], ...]


def _refers(schema: Mapping[str, Any]) -> bool:
    """Whether there is a reference anywhere in a schema: most have none, and their data need not be examined."""
    return "x-pcn-ref" in schema or bool(_referring(schema)) or ("items" in schema and _refers(schema["items"]))


@derived
def _referring(schema: Mapping[str, Any]) -> Parts:
    """The properties of a schema in which there is a reference."""
    return tuple((name, part) for name, part in schema.get("properties", {}).items() if _refers(part))
