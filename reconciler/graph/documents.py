"""Documents as the kernel keeps them: what they say, and whether two of them say the same."""

from __future__ import annotations

import functools
import json
from collections import Counter
from typing import Any


@functools.lru_cache(maxsize=16)
def document_data(document: str) -> Any:
    """A document that the kernel keeps, as data that nobody may change. Kept, because an agent reads the same documents twice a
    second, and a large one takes 50 ms."""
    return json.loads(document)


@functools.lru_cache(maxsize=16)
def say_the_same(document: str, other: str) -> bool:
    """Whether two documents differ in nothing but the order of what has none."""
    return document == other or _same(document_data(document), document_data(other))


def _same(one: Any, other: Any) -> bool:
    """Lists of objects are sets (YANG's ordered-by system); lists of words may be ordered and stay as they are.

    What is alike at the same place is quickly seen, so only the rest is compared in every order.
    """
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(
            sorted(value) == sorted(other[name]) if name == "namespaces" else _same(value, other[name])
            for name, value in one.items()
        )
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and _same_entries([pair for pair in zip(one, other, strict=True) if pair[0] != pair[1]])
    return type(one) is type(other) and bool(one == other)


def _same_entries(pairs: list[tuple[Any, Any]]) -> bool:
    """Whether the first ones of these pairs, which are not equal, are in some order the second ones."""
    if not all(isinstance(entry, dict) for pair in pairs for entry in pair):
        return False
    pairs = [pair for pair in pairs if not _same(*pair)]
    return len(pairs) != 1 and Counter(_frozen(ours) for ours, _ in pairs) == Counter(_frozen(theirs) for _, theirs in pairs)


def _frozen(data: Any) -> Any:
    """Equal for data that says the same, and can be counted."""
    if isinstance(data, dict):
        return frozenset((name, tuple(sorted(value)) if name == "namespaces" else _frozen(value)) for name, value in data.items())
    if isinstance(data, list):
        entries = [_frozen(entry) for entry in data]
        return frozenset(Counter(entries).items()) if all(isinstance(entry, dict) for entry in data) else tuple(entries)
    return data.__class__, data
