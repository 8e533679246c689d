"""Documents as the kernel keeps them: what they say, and whether two of them say the same."""

from __future__ import annotations

import functools
import json
from typing import Any


@functools.lru_cache(maxsize=16)
def document_data(document: str) -> Any:
    """A document that the kernel keeps, as data that nobody may change. Kept, because an agent reads the same documents twice a
    second, and a large one takes 50 ms."""
    return json.loads(document)


def say_the_same(document: str, other: str) -> bool:
    """Whether two documents differ in nothing but the order of what has none."""
    return document == other or _same(document_data(document), document_data(other))


def _same(one: Any, other: Any) -> bool:
    """Lists of objects are sets (YANG's ordered-by system); lists of words may be ordered and stay as they are.

    What is alike at the same place is quickly seen, so only the rest is put in an order to be compared.
    """
    if one == other:
        return type(one) is type(other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(
            sorted(value) == sorted(other[name]) if name == "namespaces" else _same(value, other[name])
            for name, value in one.items()
        )
    if isinstance(one, list) and isinstance(other, list) and all(isinstance(entry, dict) for entry in (*one, *other)):
        pairs = [(ours, theirs) for ours, theirs in zip(one, other, strict=False) if not _same(ours, theirs)]
        return len(one) == len(other) and _sorted(ours for ours, _ in pairs) == _sorted(theirs for _, theirs in pairs)
    return False


def _sorted(entries: Any) -> list[str]:
    return sorted(json.dumps(_unordered(entry), sort_keys=True) for entry in entries)


def _unordered(data: Any) -> Any:
    if isinstance(data, dict):
        return {name: sorted(value) if name == "namespaces" else _unordered(value) for name, value in data.items()}
    if isinstance(data, list) and all(isinstance(entry, dict) for entry in data):
        return sorted((_unordered(entry) for entry in data), key=lambda entry: json.dumps(entry, sort_keys=True))
    return data
