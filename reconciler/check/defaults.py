"""A model's defaults: filled in for those who work with the data, stripped from what is stored and compared.

Both need valid data. `strip(schema, fill(schema, data))` is `strip(schema, data)`. An object without defaults is returned as
the same object, so that memos of the entries of long lists (`incremental.entry_memo`) still apply.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from typing import Any

from reconciler.incremental.entry_memo import EntryMemo
from reconciler.incremental.memo import derived

Schema = Mapping[str, Any]
Work = Callable[[Schema, Any], Any]
_CONTAINERS = (dict, list)


def fill(schema: Schema, data: Any) -> Any:
    """`data` with the defaults of all absent leaves, in the model's order.

    A container without a meaning of its own (no `x-yang-presence`) exists if anything in it has a default.
    """
    if isinstance(data, dict):
        return _fill_object(schema, data)
    if isinstance(data, list) and "properties" in schema.get("items", ()):
        return _of_entries(fill, schema["items"], data)
    return data


def _of_entries(work: Work, schema: Schema, entries: list[Any]) -> list[Any]:
    return _memo(schema, work).each(entries, lambda _, entry: work(schema, entry))


@derived
def _memo(_schema: Schema, _work: Work) -> EntryMemo[Any]:
    """The memo of this function's results for lists whose entries have this schema."""
    return EntryMemo()


def _fill_object(schema: Schema, data: Mapping[str, Any]) -> dict[str, Any]:
    properties: Mapping[str, Schema] = schema.get("properties", {})
    result: dict[str, Any] = {}
    for name, part, depends in _parts(schema):
        if name in data:
            value = data[name]
            result[name] = fill(part, value) if isinstance(value, _CONTAINERS) else value
        elif depends is None or (depends and not applies(schema, name, data)):
            continue
        elif "default" in part:
            result[name] = part["default"] if part["default"].__class__ is not list else deepcopy(part["default"])
        elif filled := _fill_object(part, {}):
            result[name] = filled
    return result if data.keys() <= properties.keys() else result | {n: v for n, v in data.items() if n not in properties}


@derived
def _parts(schema: Schema) -> tuple[tuple[str, Schema, bool | None], ...]:
    """Each property, and whether its default depends on the others; None if it is never filled in."""
    return tuple(
        (name, part, _depends(schema, name, part) if "default" in part or _is_plain_container(part) else None)
        for name, part in schema.get("properties", {}).items()
    )


def _depends(schema: Schema, name: str, part: Schema) -> bool:
    return "x-yang-when" in part or any(True for _ in _cases_of(schema, name))


def strip(schema: Schema, data: Any) -> Any:
    """`data` without redundant nodes: leaves with their default, empty lists, empty containers without a meaning."""
    if isinstance(data, dict):
        return _strip_object(schema, data)
    if isinstance(data, list) and "properties" in schema.get("items", ()):
        return _of_entries(strip, schema["items"], data)
    return data


def _strip_object(schema: Schema, data: Mapping[str, Any]) -> dict[str, Any]:
    properties: Mapping[str, Schema] = schema.get("properties", {})
    kept, same = _kept(schema), True
    result: dict[str, Any] = {}
    for name, value in data.items():
        part, short = properties.get(name), value
        if part is not None and isinstance(value, _CONTAINERS):
            short = strip(part, value)
            same = same and short is value
        if part is None or name in kept or not _says_nothing(part, short):
            result[name] = short
    return data if same and len(result) == len(data) and data.__class__ is dict else result


def _says_nothing(part: Schema, value: Any) -> bool:
    if "default" in part:
        default = part["default"]
        return bool(value == default) and value.__class__ is default.__class__
    return value == [] if isinstance(value, list) else value == {} and "x-yang-presence" not in part


def _is_plain_container(part: Schema) -> bool:
    return "properties" in part and "x-yang-presence" not in part


def applies(schema: Schema, name: str, data: Mapping[str, Any]) -> bool:
    """Whether a node could be there: its `when` holds, and its case is the one that the data or the model chooses."""
    when = schema["properties"][name].get("x-yang-when")
    if when is not None:
        leaf = when.get("leaf")
        if leaf is None or _value_of(schema, leaf, data) not in when["in"]:
            return False
    return all(_case(choice, data) in cases for choice, cases in _cases_of(schema, name))


def _value_of(schema: Schema, leaf: str, data: Mapping[str, Any]) -> Any:
    return data.get(leaf, schema["properties"][leaf].get("default"))


def _cases_of(schema: Schema, name: str) -> Iterable[tuple[Schema, list[str]]]:
    """The choices that a node belongs to, each with the names of its cases that have the node."""
    for choice in schema.get("x-yang-choice", {}).values():
        cases = [case for case, names in choice["cases"].items() if name in names]
        if cases:
            yield choice, cases


def _case(choice: Schema, data: Mapping[str, Any]) -> str | None:
    begun = (case for case, names in choice["cases"].items() if any(name in data for name in names))
    return next(begun, choice.get("default"))


@derived
def _kept(schema: Schema) -> frozenset[str]:
    """Nodes that are never stripped: those whose presence selects a case, even with their default, and required ones."""
    return _names_in_choices(schema).union(schema.get("required", ()))


def _names_in_choices(schema: Schema) -> frozenset[str]:
    choices = schema.get("x-yang-choice", {}).values()
    return frozenset(name for choice in choices for names in choice["cases"].values() for name in names)
