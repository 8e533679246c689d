"""Structural sharing: a value rebuilt from the objects of a mostly equal one.

    share({"rule": [a, b, c]}, {"rule": [a2, b2, d]})     # a2 == a, b2 == b: {"rule": [a, b, d]}

A document that is parsed from bytes consists of new objects. Memos are keyed by the identity of entries
(`incremental.entry_memo`), so unchanged entries have to be the same objects as before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reconciler.incremental.persistent_list import splice, unchanged

_FEW = 64  # entries that are compared with those at the same places


def share(old: Any, new: Any) -> Any:
    """`new`, with objects of `old` in it. Neither is changed. Takes time in proportion to both."""
    if isinstance(old, dict) and isinstance(new, dict):
        if is_same(old, new):
            return old
        return {name: share(old[name], value) if name in old else value for name, value in new.items()}
    if isinstance(old, list) and isinstance(new, list):
        return old if is_same(old, new) else _list(old, new)
    return old if is_same(old, new) else new


def is_same(old: Any, new: Any) -> bool:
    """Whether two values of JSON are written alike: to Python `true`, 1 and 1.0 are equal, and to a schema they are not."""
    return bool(old == new) and _is_of_same_types((old,), (new,))


def _is_of_same_types(old: Sequence[Any], new: Sequence[Any]) -> bool:
    """Of values that are equal. Those that hold no others are compared at once."""
    types = [*map(type, old)]
    if _PLAIN.issuperset(types):
        return types == [*map(type, new)]
    for one, other in zip(old, new, strict=True):
        if one is other:
            continue
        if isinstance(one, dict):
            same = _is_of_same_types([*one.values()], [*map(other.__getitem__, one)])
        elif isinstance(one, list):
            same = _is_of_same_types(one, other)
        else:
            same = type(one) is type(other)
        if not same:
            return False
    return True


_PLAIN = frozenset({str, int, bool, float, type(None)})


def _list(old: Sequence[Any], new: Sequence[Any]) -> Sequence[Any]:
    """Equal entries at the start and at the end are the old ones; those between are paired if they are as many on both sides, and
    by their names if they have some."""
    start, rest = alike(old, new)
    was, now = old[start : len(old) - rest], new[start : len(new) - rest]
    if len(was) == len(now):
        between = [share(before, after) for before, after in zip(was, now, strict=True)]
    else:
        named = {entry["name"]: entry for entry in was if isinstance(entry, dict) and isinstance(entry.get("name"), str)}
        between = [share(named.get(_name(entry)), entry) for entry in now]
    return splice(old, start, between, rest)


def alike(old: Sequence[Any], new: Sequence[Any]) -> tuple[int, int]:
    """How many entries at the start are written alike (`is_same`), and how many at the end, not counting those again."""
    shorter = min(len(old), len(new))
    start = _alike(old, new, shorter)
    return start, _alike(old[::-1], new[::-1], shorter - start)


def _alike(old: Sequence[Any], new: Sequence[Any], most: int) -> int:
    """How many entries at the start are written alike, of `most`."""
    equal = next((at for at in range(most) if old[at] != new[at]), most)
    if _is_of_same_types(old[:equal], new[:equal]):
        return equal
    return next(at for at in range(equal) if not is_same(old[at], new[at]))


def _name(entry: Any) -> str:
    name = entry.get("name", "") if isinstance(entry, dict) else ""
    return name if isinstance(name, str) else ""


def pooled(first: Sequence[Any], second: Sequence[Any]) -> Sequence[Any]:
    """The second list, with the objects of the first one for entries that say the same, wherever they stand. Two balancers may
    have the same 5,000 services: what is built from an entry of one is then there for the other. Takes 0.1 ms if they share
    all but a few at the same places, 1 ms if they share most."""
    start, rest = unchanged(first, second)
    end = len(second) - rest
    if len(first) == len(second) and end - start <= _FEW:
        same = {at: first[at] for at in range(start, end) if first[at] is not second[at] and is_same(first[at], second[at])}
        if len(same) == end - start:
            return splice(second, start, [same[at] for at in range(start, end)], rest) if same else second
    mine = set(map(id, first))
    others = [at for at, each in enumerate(second) if id(each) not in mine]
    if not others:
        return second
    theirs = set(map(id, second))
    known = {_word(each): each for each in first if id(each) not in theirs and isinstance(each, dict)}
    found = {at: known.get(_word(second[at])) for at in others if isinstance(second[at], dict)}
    same = {at: each for at, each in found.items() if each is not None and is_same(each, second[at])}
    if not same:
        return second
    start, end = min(same), max(same) + 1
    return splice(second, start, [same.get(at, second[at]) for at in range(start, end)], len(second) - end)


def _word(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    """What tells an entry from most others: its plain leaves."""
    return tuple((name, value) for name, value in entry.items() if not isinstance(value, list | dict))
