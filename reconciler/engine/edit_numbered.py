"""Numbered lists: entries in the order of their number, which are appended, inserted and removed (`pcn:edit` in a model). Pure.

    append  after the last one         insert  at a number (default 0); later entries move up as far as necessary
    remove  by number, or the first one that is equal         batch  several of these, all or none

Numbers that are contiguous from 0 stay so when an entry is removed; others keep their gaps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter, lt
from typing import Any

from reconciler.check.defaults import fill
from reconciler.engine.edit_values import vetted, vetted_leaf
from reconciler.errors import EditRefused
from reconciler.incremental.persistent_list import splice
from reconciler.service.model.walk import Place

NUMBERED = ("append", "insert", "remove", "batch", "update")
_WORDS = {"delete": "remove"}
"""Aliases of operations in a batch."""
_OF_PEOPLE = ("name", "description")


def numbered(holder: Any, place: Place, operation: str, among: str, value: Any, where: str) -> tuple[Any, dict[str, Any]]:
    """`holder` with its list `among` after the operation, and the operation's output. Raises EditRefused."""
    schema = place.schema["properties"][among]
    (key,) = schema["x-yang-key"]
    entries: Sequence[Any] = sorted_by(holder.get(among, []), key)
    if operation == "batch":
        for number, each in enumerate(_batch(value, among, where)):
            inner = {name: part for name, part in each.items() if name != "operation"}
            at = f"{where}/{number}"
            entries, _ = _one(entries, schema, key, _operation(each, at), inner, at)
        return {**holder, among: entries}, {}
    entries, output = _one(entries, schema, key, operation, value, where)
    return {**holder, among: entries}, output


def sorted_by(entries: Sequence[Any], key: str) -> Sequence[Any]:
    """The entries in the order of their numbers; the same object if they are already."""
    numbers = list(map(itemgetter(key), entries))
    return entries if all(map(lt, numbers, numbers[1:])) else sorted(entries, key=itemgetter(key))


def _batch(value: Any, among: str, where: str) -> list[Any]:
    found = value.get(f"{among}s") if isinstance(value, dict) else value
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        why = f'expected {{"{among}s": [{{"operation": …}}, …]}}; a command line cannot say that, so give a file (< FILE)'
        raise EditRefused("invalid-value", why, where, f"{among}s")
    return found


def _operation(each: Mapping[str, Any], where: str) -> str:
    said = str(each.get("operation", "")).casefold()
    found = _WORDS.get(said, said)
    if found not in NUMBERED or found == "batch":
        raise EditRefused("bad-attribute", "expected append, insert, update or delete", f"{where}/operation", "operation")
    return found


def _one(
    entries: Sequence[Any], schema: Mapping[str, Any], key: str, operation: str, value: Any, where: str
) -> tuple[Sequence[Any], dict[str, Any]]:
    items = schema["items"]
    if not isinstance(value, dict):
        raise EditRefused("invalid-value", "expected an object", where)
    said = vetted_leaf(items["properties"][key], value[key], f"{where}/{key}") if key in value else None
    body = {name: part for name, part in value.items() if name != key}
    if operation == "remove":
        return _removed(entries, items, key, said, vetted(items, body, where, whole=False, given=(key,)), where), {}
    if operation == "update":
        return _updated(entries, key, said, vetted(items, body, where, whole=False, given=(key,)), where), {}
    if operation == "append":
        said = entries[-1][key] + 1 if entries else 0
    number = said or 0
    entry = vetted(items, {key: number, **body}, where, whole=True)
    at = len(entries)
    if operation == "insert":
        at = next((place for place, each in enumerate(entries) if each[key] >= number), at)
    end = at
    while end < len(entries) and entries[end][key] == number + end - at:
        end += 1
    moved = [{**each, key: each[key] + 1} for each in entries[at:end]]
    return splice(entries, at, [entry, *moved], len(entries) - end), {key: number}


def _at(entries: Sequence[Any], key: str, number: int | None, where: str) -> int:
    found = next((at for at, each in enumerate(entries) if each[key] == number), None)
    if found is None:
        raise EditRefused("data-missing", f"there is no entry {number}", where, key)
    return found


def _updated(entries: Sequence[Any], key: str, number: int | None, body: Mapping[str, Any], where: str) -> Sequence[Any]:
    at = _at(entries, key, number, where)
    return splice(entries, at, [{**entries[at], **body}], len(entries) - at - 1)


def _removed(
    entries: Sequence[Any], items: Mapping[str, Any], key: str, number: int | None, body: Mapping[str, Any], where: str
) -> Sequence[Any]:
    if number is not None:
        return without(entries, key, _at(entries, key, number, where))
    wanted = _content(items, {key: 0, **body}, key)
    at = next((at for at, each in enumerate(entries) if _content(items, each, key) == wanted), None)
    if at is None:
        raise EditRefused("data-missing", "there is no such entry", where)
    return without(entries, key, at)


def _content(items: Mapping[str, Any], entry: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The content that equal entries share: everything but the number, the name and the description."""
    return {name: value for name, value in fill(items, entry).items() if name != key and name not in _OF_PEOPLE}


def without(entries: Sequence[Any], key: str, at: int) -> list[Any]:
    """The list without one entry; contiguous from 0 if it was."""
    contiguous = len(entries) > 1 and entries[0][key] == 0 and entries[-1][key] == len(entries) - 1
    rest = entries[at + 1 :]
    moved = [{**each, key: each[key] - 1} for each in rest] if contiguous else list(rest)
    return splice(entries, at, moved, 0) if contiguous else splice(entries, at, [], len(rest))
