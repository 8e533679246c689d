"""Rows of state that belong to a configured row and are deleted with it: pcn:owned-by.

The list of state has a leaf for each key of its owner, under the owner's own name, so that a row names its owner. Rows are
selected by these fields' bytes: neither the owner's configuration nor the time at which the row was learned matters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reconciler.service.model.bindings import Binding
from reconciler.service.model.packing import TableLayout, place


@dataclass(frozen=True, slots=True)
class Owned:
    """A table and the fields in which its rows name their owner: (whether in the key, offset, size). `of_owner` are the same
    fields in the owner's key: (offset, size)."""

    table: str
    fields: tuple[tuple[bool, int, int], ...]
    of_owner: tuple[tuple[int, int], ...]

    def values(self, keys: Iterable[bytes]) -> tuple[bytes, ...]:
        """The fields by which the rows with these keys own others, concatenated."""
        return tuple(b"".join(key[at : at + size] for at, size in self.of_owner) for key in keys)


def owned_by(table: str, bound: Sequence[Binding], tables: Mapping[str, TableLayout]) -> Iterator[Owned]:
    """What rows of a table own, of the tables that there are. Raises KeyError where the fields do not fit."""
    for owner in bound:
        if owner.table == table and not owner.state:
            path = tuple(name for name, _ in owner.segments)
            for binding in bound:
                if binding.owner == path and binding.table in tables:
                    yield _owned(owner, binding, tables)


def _owned(owner: Binding, binding: Binding, tables: Mapping[str, Any]) -> Owned:
    fields, of_owner = [], []
    layout = tables[binding.table]
    for key in owner.keys:
        column = next(c for c in (*binding.keys, *binding.values) if c.path == key.path)
        in_key = column in binding.keys
        at = place(layout.key if in_key else layout.value, column.place)
        whose = place(tables[owner.table].key, key.place)
        if at[1] != whose[1]:
            raise KeyError(
                f"rows of {binding.table!r} name their owner in {at[1]} bytes ({column.place!r}), "
                f"and {owner.table!r} has {whose[1]} ({key.place!r})"
            )
        fields.append((in_key, *at))
        of_owner.append(whose)
    return Owned(binding.table, tuple(fields), tuple(of_owner))
