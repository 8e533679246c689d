"""Where each leaf of a model is stored in the kernel, by the model's JSON Schema.

The schema declares it with x-pcn- keywords (docs/models.md). This module gathers them into bindings: one for each list or
group of leaves that is stored in a table. `rows` needs nothing else to convert configuration to rows and back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """One leaf. `level` counts the lists around it (0: none); `path` is relative to that list's entry. `place` is the C field
    ('' is the entire key or value). `state` leaves are the datapath's, never written. `until`: the path from the root of the
    leaf that limits an age. `init`: a change of it replaces the entry."""

    level: int
    path: tuple[str, ...]
    place: str
    encoding: str
    enum: Mapping[str, int] = field(default_factory=dict, hash=False)
    state: bool = False
    default: Any = None
    until: tuple[str, ...] = ()
    init: bool = False


@dataclass(frozen=True)
class Binding:
    """One table's share of a model. `segments` point to the entries: (name, whether it is a list).

    No keys: the single row with key 0. `learned` names the datapath's own table of rows of the same shape. `state`: a list of
    state (config false): the entire table is the datapath's, its keys too. `owner`: the path of the configured list whose
    rows own these.
    """

    table: str
    segments: tuple[tuple[str, bool], ...]
    keys: tuple[Column, ...] = ()
    values: tuple[Column, ...] = ()
    learned: str | None = None
    maximum: int | None = None
    state: bool = False
    owner: tuple[str, ...] = ()

    @property
    def is_list(self) -> bool:
        return bool(self.keys)

    @property
    def of_datapath(self) -> str | None:
        """The table of its rows that programs write, if there is one."""
        return self.table if self.state else self.learned


@dataclass(slots=True)
class _Draft:
    table: str
    segments: tuple[tuple[str, bool], ...]
    keys: list[Column]
    values: list[Column]
    learned: str | None = None
    maximum: int | None = None
    state: bool = False
    owner: tuple[str, ...] = ()

    def finished(self) -> Binding:
        columns = tuple(self.keys), tuple(self.values)
        return Binding(self.table, self.segments, *columns, self.learned, self.maximum, self.state, self.owner)


def bindings(schema: Schema) -> tuple[Binding, ...]:
    """All bindings of one service's schema, in model order."""
    drafts: list[_Draft] = []
    _visit_object(schema, _At(draft=_open(drafts, schema, (), [])), drafts)
    return tuple(draft.finished() for draft in drafts if draft.keys or draft.values)


def _open(
    drafts: list[_Draft], node: Schema, segments: tuple[tuple[str, bool], ...], keys: list[Column], state: bool = False
) -> _Draft | None:
    """The draft of the table that a node names; all leaves of one unkeyed table share one draft."""
    table = node.get("x-pcn-table")
    if table is None:
        return None
    if not keys:
        for draft in drafts:
            if draft.table == table and not draft.keys:
                return draft
    owner = tuple(name for name in node.get("x-pcn-owned-by", "").split("/") if name)
    drafts.append(_Draft(table, segments, keys, [], node.get("x-pcn-learned"), node.get("maxItems"), state, owner))
    return drafts[-1]


@dataclass(frozen=True, slots=True)
class _At:
    """A position in the walk of a schema: `segments` from the root, the `level` lists around and their `keys`, the `draft` of
    the table that leaves belong to, and the `path` within the entry of the innermost list. Everything below state is state."""

    segments: tuple[tuple[str, bool], ...] = ()
    level: int = 0
    keys: tuple[Column, ...] = ()
    draft: _Draft | None = None
    path: tuple[str, ...] = ()
    state: bool = False


def _visit_object(node: Schema, at: _At, drafts: list[_Draft]) -> None:
    for of_state, members in ((at.state, node.get("properties", {})), (True, node.get("x-state", {}))):
        for name, member in members.items():
            _visit(name, member, replace(at, state=of_state), drafts)


def _visit(name: str, node: Schema, at: _At, drafts: list[_Draft]) -> None:
    if node.get("type") == "array":
        _visit_list(name, node, at, drafts)
    elif node.get("type") == "object":
        segments = (*at.segments, (name, False))
        inner = _open(drafts, node, segments, []) if "x-pcn-table" in node else at.draft
        _visit_object(node, replace(at, segments=segments, draft=inner, path=(*at.path, name)), drafts)
    elif "x-pcn-value" in node:
        home = _open(drafts, node, at.segments, []) if "x-pcn-table" in node else at.draft
        if home is not None:
            path = _full(home, at.segments, at.path, name)
            home.values.append(_column(at.level if home.keys else 0, path, node, node["x-pcn-value"], at.state))


def _full(home: _Draft, segments: tuple[tuple[str, bool], ...], path: tuple[str, ...], name: str) -> tuple[str, ...]:
    """Columns of an unkeyed row are addressed from the root, as their leaves may be in different containers."""
    return (*path, name) if home.keys else (*(segment for segment, _ in segments), name)


def _visit_list(name: str, node: Schema, at: _At, drafts: list[_Draft]) -> None:
    items, level = node.get("items", {}), at.level + 1
    here = (*at.segments, (name, True))
    if items.get("type") != "object":  # a leaf-list: its entries are the keys
        if "x-pcn-table" in node:
            own = _column(level, (), {**items, **node}, node.get("x-pcn-key", ""), False)
            _open(drafts, node, here, [*at.keys, own], at.state)
        return
    own_keys = [
        _column(level, (leaf,), items["properties"][leaf], items["properties"][leaf]["x-pcn-key"], False)
        for leaf in node.get("x-yang-key", ())
        if "x-pcn-key" in items["properties"][leaf]
    ]
    keys = [*at.keys, *own_keys]
    draft = _open(drafts, node, here, keys, at.state)
    _visit_object(items, _At(here, level, tuple(keys), draft, (), at.state), drafts)


def _column(level: int, path: tuple[str, ...], node: Schema, place: str, state: bool) -> Column:
    until = tuple(node["x-pcn-until"].split("/")) if "x-pcn-until" in node else ()
    encoding, enum = node.get("x-pcn-encoding", "uint"), node.get("x-pcn-enum", {})
    return Column(level, path, place, encoding, enum, state, node.get("default"), until, bool(node.get("x-init-only")))


_OF_EVERY_CUBE = ("name", "service-name", "type")  # a change of these makes another cube without being told


def init_only(schema: Schema, config: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the init-only nodes of the cube itself, by path; of those in a list, its entries are replaced."""
    found: dict[str, Any] = {}
    for name, node in schema.get("properties", {}).items():
        value = config.get(name, node.get("default"))
        if node.get("x-init-only") and name not in _OF_EVERY_CUBE:
            found |= {name: value} if value is not None else {}
        elif node.get("type") == "object":
            inner = init_only(node, value if isinstance(value, Mapping) else {})
            found |= {f"{name}/{path}": below for path, below in inner.items()}
    return found


def filters(schema: Schema, config: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """(name in C, steps to its leaf, text) of each filter that a configuration has."""
    yield from _filters(schema, config, ())


def _filters(node: Schema, config: Mapping[str, Any], steps: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...], str]]:
    for name, member in node.get("properties", {}).items():
        value = config.get(name)
        if "x-pcn-filter" in member and value:
            yield member["x-pcn-filter"], (*steps, name), value
        if member.get("type") == "object" and isinstance(value, Mapping):
            yield from _filters(member, value, (*steps, name))


def sizes(schema: Schema) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """(path to a leaf, the tables whose size it is) of a model."""
    for name, member in schema.get("properties", {}).items():
        if "x-pcn-size" in member:
            yield (name,), tuple(member["x-pcn-size"].split())
        if member.get("type") == "object":
            yield from (((name, *path), tables) for path, tables in sizes(member))


def grows(schema: Schema) -> Iterator[str]:
    """The tables of a model that are created larger than the C's size if lists have more entries."""
    for member in schema.get("properties", {}).values():
        yield from member.get("x-pcn-grows", "").split()
        if member.get("type") in ("object", "array"):
            yield from grows(member.get("items", member))


def constants(schema: Schema) -> Iterator[tuple[str, tuple[tuple[str, bool], ...], Schema, bool]]:
    """(constant's name, segments to its node, the node, whether it means 'the list has entries') of a model."""
    yield from _constants(schema, ())


def _constants(
    node: Schema, segments: tuple[tuple[str, bool], ...]
) -> Iterator[tuple[str, tuple[tuple[str, bool], ...], Schema, bool]]:
    for name, member in node.get("properties", {}).items():
        here = (*segments, (name, member.get("type") == "array"))
        if "x-pcn-const-any" in member:
            yield member["x-pcn-const-any"], here, member, True
        if "x-pcn-const" in member:
            yield member["x-pcn-const"], here, member, False
        if member.get("type") == "object":
            yield from _constants(member, here)
