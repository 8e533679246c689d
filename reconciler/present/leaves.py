"""The difference of two sets of leaves, as text. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def changed_leaves(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(mark, text) of each difference: ('~', 'action: DROP -> FORWARD'). Entries of lists are printed with their leaves."""
    for name in dict.fromkeys([*after, *before]):
        old, new = before.get(name), after.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            for mark, words in changed_leaves(old, new):
                yield mark, f"{name}/{words}"
        elif name not in before:
            yield "+", f"{name}{_said(new)}"
        elif name not in after:
            yield "-", f"{name}{_said(old)}"
        elif old != new:
            yield "~", f"{name}: {value_words(old)} -> {value_words(new)}"


def _said(value: Any) -> str:
    if isinstance(value, Mapping):
        text = ", ".join(f"{leaf} {value_words(each)}" for leaf, each in value.items())
        return f": {text}" if text else ""
    return f": {value_words(value)}"


def value_words(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ", ".join(value_words(each) for each in value) or "none"
    if isinstance(value, Mapping):
        return " via ".join(value_words(each) for each in value.values() if each is not None)
    return "none" if value is None else str(value)


def counted(number: int, word: str) -> str:
    """'1 map write', '2 map writes'."""
    return f"{number} {word}{'' if number == 1 else 's'}"
