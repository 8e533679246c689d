"""Configured lists with the counters of each entry; a model declares which list of state has them (pcn:counts). Pure.

    chain INGRESS  default=DROP
      pkts  bytes  id       rule
         3    222  10       name=ssh action=ACCEPT l4proto=TCP dport=22
        17  1,020  default
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_COUNTS = "x-pcn-counts"


@dataclass(frozen=True, slots=True)
class Counted:
    """`title`: the list's path, with its sibling leaves. A row has a cell for each of `columns`."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def lines(self) -> Iterator[str]:
        """In columns: numbers right-aligned, the key and the entry left-aligned."""
        table = (self.columns, *self.rows)
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        last = len(widths) - 2
        yield self.title
        for row in table:
            sides = [str.rjust if at < last else str.ljust for at in range(len(row))]
            yield ("  " + "  ".join(side(cell, width) for side, cell, width in zip(sides, row, widths, strict=True))).rstrip()


def has_counts(schema: Mapping[str, Any]) -> bool:
    """Whether a service's model has a list with counters."""
    inner = (each.get("items", each) for each in schema.get("properties", {}).values())
    return any(_COUNTS in state for state in schema.get("x-state", {}).values()) or any(map(has_counts, inner))


def counted(schema: Mapping[str, Any], data: Mapping[str, Any], title: str = "") -> Iterator[Counted]:
    """All lists with counters of a cube, by its service's schema; `data` is its document with state."""
    for name, state in schema.get("x-state", {}).items():
        if (about := state.get(_COUNTS)) is not None and name in data:
            yield _one(state, data.get(about, ()), data[name], (title, *_leaves(data, ())))
    for name, inner in schema.get("properties", {}).items():
        if inner.get("type") == "object" and name in data:
            yield from counted(inner, data[name], f"{title} {name}".strip())
        elif inner.get("type") == "array" and inner["items"].get("type") == "object":
            keys = inner.get("x-yang-key", inner["items"].get("required", ()))
            for entry in data.get(name, ()):
                place = " ".join(str(entry[key]) for key in keys if key in entry)
                rest = {leaf: value for leaf, value in entry.items() if leaf not in keys}
                yield from counted(inner["items"], rest, f"{title} {name} {place}".strip())


def _one(state: Mapping[str, Any], entries: Any, counts: Any, title: tuple[str, ...]) -> Counted:
    (key,) = state["x-yang-key"]
    numbers = [leaf for leaf in state["items"]["properties"] if leaf != key]
    known = {str(entry[key]): " ".join(_leaves(entry, (key,))) for entry in entries}
    rows = tuple((*(f"{each[leaf]:,}" for leaf in numbers), str(each[key]), known.get(str(each[key]), "")) for each in counts)
    return Counted("  ".join(filter(None, title)), (*numbers, key, "entry"), rows)


def _leaves(entry: Mapping[str, Any], without: tuple[str, ...]) -> Iterator[str]:
    """The leaves as `leaf=value`, the name first; text with spaces is quoted."""
    for leaf in sorted((leaf for leaf in entry if leaf not in without), key=lambda leaf: leaf != "name"):
        if isinstance(entry[leaf], str | int) and not isinstance(entry[leaf], bool):
            said = str(entry[leaf])
            yield f"{leaf}={said!r}" if " " in said else f"{leaf}={said}"
