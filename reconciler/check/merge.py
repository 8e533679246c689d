"""Merges several documents of one topology (`--merge`).

Mappings are merged key by key, lists entry by entry where their entries have keys. Equal values may be repeated; conflicting
ones are an error that names both places. Nothing overrides anything: files have no order.
"""
from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reconciler.check.messages import quoted
from reconciler.check.schema import Services, key_finder, service_of, topology_schema
from reconciler.document import Document, Path
from reconciler.document.paths import display
from reconciler.errors import Problem

Part = tuple[Document, Path, Any]
"""A value, and where in which document it stands."""


def merge(documents: Sequence[Document], services: Services) -> tuple[Document, list[Problem]]:
    """One document out of several with one name; of what they disagree about, the first one's is kept."""
    work = _Merge(services)
    data = work.value((), [(document, (), document.data) for document in documents], topology_schema())
    first = documents[0]
    merged = Document(first.file, first.text, data, first.index, work.places)
    keys = key_finder(data, services)
    problems = [
        Problem(f"{quoted(value)} here, but {quoted(other)} in another document of this topology", display(path, data, keys),
                document.position(place), related=((first_document.position(first_place), "the other one is here"),))
        for path, (first_document, first_place, other), (document, place, value) in work.conflicts
    ]
    return merged, problems


@dataclass(slots=True)
class _Merge:
    services: Services
    places: dict[Path, tuple[Document, Path]] = field(default_factory=dict)
    conflicts: list[tuple[Path, Part, Part]] = field(default_factory=list)

    def value(self, path: Path, parts: Sequence[Part], schema: Mapping[str, Any]) -> Any:
        """The merged value at `path` of the parts that have one there."""
        self.places[path] = parts[0][:2]
        if len(parts) == 1:
            return parts[0][2]
        values = [value for _, _, value in parts]
        if all(isinstance(value, dict) for value in values):
            return self.mapping(path, parts, schema)
        if all(isinstance(value, list) for value in values) and "x-yang-ordered-by" not in schema:
            return self.keyed(path, parts, schema) if "x-yang-key" in schema else self.union(path, parts)
        first = parts[0]
        self.conflicts += [(path, first, part) for part in parts[1:] if part[2] != first[2]]
        return first[2]

    def mapping(self, path: Path, parts: Sequence[Part], schema: Mapping[str, Any]) -> dict[str, Any]:
        names = dict.fromkeys(name for _, _, value in parts for name in value)
        known = schema.get("properties", {})
        result = {}
        for name in names:
            here = [(document, (*place, name), value[name]) for document, place, value in parts if name in value]
            result[name] = self.value((*path, name), here, known.get(name, {}))
        return result

    def keyed(self, path: Path, parts: Sequence[Part], schema: Mapping[str, Any]) -> list[Any]:
        """Entries with one key are one entry. Equal keys within one document stay separate, and are reported later."""
        groups: dict[Any, list[Part]] = {}
        for number, part in enumerate(parts):
            for entry in _entries(part):
                key = _key(entry[2], schema["x-yang-key"], schema.get("items", {}).get("required", ()))
                if key is None or any(known[0] is entry[0] for known in groups.get(key, ())):
                    key = (number, entry[1])
                groups.setdefault(key, []).append(entry)
        numbered = enumerate(groups.values())
        return [self.value((*path, index), group, self.entry_schema(schema, group)) for index, group in numbered]

    def union(self, path: Path, parts: Sequence[Part]) -> list[Any]:
        """A list of plain values: what the first has, and what the others add."""
        result: list[Any] = []
        for number, part in enumerate(parts):
            known = list(result)
            for document, place, value in _entries(part):
                if number == 0 or value not in known:
                    self.places[(*path, len(result))] = document, place
                    result.append(value)
        return result

    def entry_schema(self, schema: Mapping[str, Any], group: Sequence[Part]) -> Mapping[str, Any]:
        """The schema of a cube is its service's, which only one of the documents may name."""
        if schema.get("x-pcn-cubes"):
            found = [service for _, _, value in group if (service := service_of(value, self.services)) is not None]
            return found[0].schema if found else {}
        items: Mapping[str, Any] = schema.get("items", {})
        return items


def _entries(part: Part) -> Iterator[Part]:
    document, place, values = part
    for index, value in enumerate(values):
        yield document, (*place, index), value


def _key(entry: Any, names: Sequence[str], needed: Collection[str]) -> tuple[Any, ...] | None:
    """An entry's key, None for a part that may be omitted and is; None if it has no key."""
    if not isinstance(entry, dict) or any(name in needed and entry.get(name) is None for name in names):
        return None
    key = tuple(entry.get(name) for name in names)
    return None if any(isinstance(part, list | dict) for part in key) else key
