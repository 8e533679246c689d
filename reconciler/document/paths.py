"""A path into a document as text: /spec/cubes/fw1/chain/INGRESS/rule/7/action.

List entries are named by their key, not by their index, since users do not count to the 7,000th rule. Key leaves are those
of the model; without a model (a file that could not be parsed to its end) they are guessed.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from reconciler.document import Path

KeyFinder = Callable[[Path], tuple[str, ...]]
"""The key leaves of the list at a path (of the list, not of an entry); empty if it has none."""

_USUAL_KEYS = ("name", "id", "netdev")


def display(path: Path, data: Any, keys_of: KeyFinder | None = None) -> str:
    """The path with list keys for indices where available, else with `[index]`. `data` is the entire document."""
    parts: list[str] = []
    for depth, step in enumerate(path):
        parts.append(step if isinstance(step, str) else entry_name(_at(data, step), step, keys_of and keys_of(path[:depth])))
        data = _at(data, step)
    return "".join(f"/{part}" for part in parts)


def entry_name(entry: Any, index: int, keys: tuple[str, ...] | None) -> str:
    """The name of a list entry: its key leaves, joined by commas, or its index in brackets. Trailing ones may be missing:
    a link of the host has no netns."""
    if not isinstance(entry, Mapping):
        return f"[{index}]"
    if not keys:
        keys = next(((key,) for key in _USUAL_KEYS if key in entry), ())
    values = [entry[key] for key in keys if key in entry]
    if not values or keys[0] not in entry or any(value in (None, "") or isinstance(value, list | dict) for value in values):
        return f"[{index}]"
    return ",".join(str(value) for value in values)


def _at(data: Any, step: str | int) -> Any:
    if isinstance(step, int):
        return data[step] if isinstance(data, list) and step < len(data) else None
    return data.get(step) if isinstance(data, Mapping) else None
