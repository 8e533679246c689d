"""Normalises data by its model: one spelling for each value, however it was written in YAML.

A plain 1.10 or 0123 is text if the model has text there, `drop` is DROP, 02:00:00:AA:00:01 and 02:00:00:aa:00:01 are one
address, keys are in the model's order. Invalid values are unchanged; the validation that follows reports them. Only duplicate
list keys are found here, since keys are equal only once they are normalised.

A schema is compiled into functions once, because a rule set has many entries and few kinds of leaf.
"""
from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from operator import eq, is_, itemgetter
from typing import Any

from reconciler.check.addresses import canonical_of
from reconciler.document import Path
from reconciler.incremental.entry_memo import FEW, EntryMemo
from reconciler.incremental.memo import derived
from reconciler.incremental.persistent_list import Distinct

SourceText = Callable[[Path], str | None]
Step = str | int | Path
Leaf = Callable[[Any, "_Run", Path, Step], Any]
"""Takes a value, the path of what it is in, and the last step to it; so that no path is made for a leaf that fits."""


@dataclass(frozen=True, slots=True)
class EqualKeys:
    """Two entries of the list at `path` have the same key."""

    path: Path
    key: tuple[Any, ...]
    first: int
    second: int


@dataclass(slots=True)
class _Run:
    text: SourceText
    equal: list[EqualKeys] = field(default_factory=list)


class _EqualWithin(Exception):
    """An entry has a list in which two entries have the same key."""


def normalise(schema: Mapping[str, Any], data: Any, text: SourceText, path: Path = ()) -> tuple[Any, list[EqualKeys]]:
    """`data` (at `path`) in normal form; `data` itself is not changed.

    `text` returns a scalar as it was written, by path. An object that is already in normal form is returned as the same
    object.
    """
    run = _Run(text)
    result = _compiled(schema)(data, run, (), path)
    return result, run.equal


@derived
def _compiled(schema: Mapping[str, Any]) -> Leaf:
    return _compile(schema)


def _compile(schema: Any) -> Leaf:
    if not isinstance(schema, Mapping):
        return _as_it_is
    if "properties" in schema:
        return _object(schema)
    if "items" in schema:
        return _list(schema)
    return _scalar(schema)


def _joined(path: Path, step: Step) -> Path:
    """The path of a value; the outermost value has its entire path as step."""
    return path + step if isinstance(step, tuple) else (*path, step)


def _as_it_is(value: Any, _run: _Run, _path: Path, _step: Step) -> Any:
    return value


def _object(schema: Mapping[str, Any]) -> Leaf:
    children = {name: _compile(part) for name, part in schema["properties"].items()}

    def normal(value: Any, run: _Run, path: Path, step: Step) -> Any:
        if value.__class__ is not dict:
            return value
        here = _joined(path, step)
        result: dict[str, Any] = {}
        for name, child in children.items():
            if name in value:
                result[name] = child(value[name], run, here, name)
        if len(result) < len(value):
            result |= {name: item for name, item in value.items() if name not in result}
        return value if all(map(is_, result.values(), value.values())) and all(map(eq, result, value)) else result

    return normal


def _list(schema: Mapping[str, Any]) -> Leaf:
    entry = _compile(schema["items"])
    keys: tuple[str, ...] = tuple(schema.get("x-yang-key", ()))
    needed = schema["items"].get("required", ())
    known: EntryMemo[Any] = EntryMemo()
    distinct = Distinct(itemgetter(*keys)) if keys else None

    def normal(value: Any, run: _Run, path: Path, step: Step) -> Any:
        if not isinstance(value, list):
            return value
        here = _joined(path, step)

        own = _Run(run.text)

        def of(index: int, item: Any) -> Any:
            made = entry(item, own, here, index)
            if own.equal:
                raise _EqualWithin
            return made

        try:
            result = known.each(value, of)
        except _EqualWithin:  # which is said every time, so nothing of it is remembered
            result = [entry(item, run, here, index) for index, item in enumerate(value)]
        if distinct is not None and not _all_differ(result, distinct):
            run.equal += _equal_keys(result, keys, needed, here)
        return result

    return normal


def _all_differ(entries: list[Any], distinct: Distinct) -> bool:
    """A quick yes: all entries have all keys, and no two are equal."""
    try:
        return distinct.holds(entries) if len(entries) >= FEW else len(set(map(distinct.key, entries))) == len(entries)
    except (TypeError, KeyError):
        return False


def _equal_keys(entries: list[Any], keys: tuple[str, ...], needed: Collection[str], path: Path) -> Iterable[EqualKeys]:
    """An absent part of a key distinguishes entries, too, unless it is required: then its absence is the error."""
    seen: dict[tuple[Any, ...], int] = {}
    for index, entry in enumerate(entries):
        if entry.__class__ is not dict:
            continue
        key = tuple([entry.get(name) for name in keys])
        if not all(part.__class__ is str or part.__class__ is int or (name not in entry and name not in needed)
                   for name, part in zip(keys, key, strict=True)):  # fmt: skip
            continue
        first = seen.setdefault(key, index)
        if first != index:
            yield EqualKeys(path, key, first, index)


def _scalar(schema: Mapping[str, Any]) -> Leaf:
    return _joinable(_single(schema), numbers="integer" in _types(schema)) if "x-pcn-list" in schema else _single(schema)


def _joinable(single: Leaf, *, numbers: bool) -> Leaf:
    """Several values, as a list or with commas between, are one text; one value alone is what it is without a list."""

    def normal(value: Any, run: _Run, path: Path, step: Step) -> Any:
        if value.__class__ is str and "," in value:
            return ",".join(str(single(part.strip(), run, path, step)) for part in value.split(","))
        if numbers and value.__class__ is str and value.isdecimal() and value.isascii():
            value = int(value)
        if value.__class__ is not list or not value or not all(part.__class__ in (str, int) for part in value):
            return single(value, run, path, step)
        here = _joined(path, step)
        parts = [single(part, run, here, index) for index, part in enumerate(value)]
        return parts[0] if len(parts) == 1 else ",".join(map(str, parts))

    return normal


def _single(schema: Mapping[str, Any]) -> Leaf:
    types = _types(schema)
    if "integer" in types and "string" in types and schema.get("x-yang-type") in ("int64", "uint64"):
        return _big_integer
    if "string" in types:
        return _text(types, _spelling(schema))
    return _integer if "integer" in types else _as_it_is


def _types(schema: Mapping[str, Any]) -> frozenset[str]:
    """The JSON types that a scalar may have."""
    said = schema.get("type", ())
    members = schema.get("anyOf", ())
    own = frozenset([said] if isinstance(said, str) else said)
    return own or own.union(*(_types(member) for member in members))


def _spelling(schema: Mapping[str, Any]) -> Callable[[str], str] | None:
    """The function that normalises a text of this type; None if every text is normal."""
    if "enum" in schema:
        return _enumeration(schema["enum"])
    members = [spelling for member in schema.get("anyOf", ()) if (spelling := _spelling(member)) is not None]
    if members:
        return lambda text: next((said for spelling in members if (said := spelling(text)) != text), text)
    return canonical_of(schema)


def _enumeration(names: list[Any]) -> Callable[[str], str] | None:
    """Case-insensitive, as in Polycube; but names that differ only in case stay distinct."""
    folded: dict[str, list[str]] = {}
    for name in names:
        folded.setdefault(str(name).casefold(), []).append(name)
    known = {name: found[0] for name, found in folded.items() if len(found) == 1}
    return lambda text: known.get(text.casefold(), text)


def _text(types: frozenset[str], spelling: Callable[[str], str] | None) -> Leaf:
    kept = tuple({"integer": int, "number": float, "boolean": bool}[name] for name in types & {"integer", "number", "boolean"})

    def normal(value: Any, run: _Run, path: Path, step: Step) -> Any:
        if value.__class__ is not str:
            if not isinstance(value, int | float) or value.__class__ in kept:
                return value
            written = run.text(_joined(path, step))
            value = written if written is not None else value
        return spelling(value) if spelling is not None and value.__class__ is str else value

    return normal


def _integer(value: Any, _run: _Run, _path: Path, _step: Step) -> Any:
    return int(value) if value.__class__ is float and value.is_integer() else value


def _big_integer(value: Any, run: _Run, path: Path, step: Step) -> Any:
    """RFC 7951 writes 64-bit numbers as strings; here they are numbers, so that their range is examined."""
    if value.__class__ is str and value.removeprefix("-").isdecimal() and value.isascii():
        return int(value)
    return _integer(value, run, path, step)
