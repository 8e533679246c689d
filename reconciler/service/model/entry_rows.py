"""Incremental rows of long lists: rows of entries that an edit did not touch are reused."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from reconciler.incremental.entry_memo import FEW, EntryMemo
from reconciler.incremental.memo import derived
from reconciler.incremental.persistent_list import unchanged
from reconciler.incremental.row_delta import row_delta
from reconciler.service.model.bindings import Binding
from reconciler.service.model.codec import Env
from reconciler.service.model.packing import Row, Rows, TableLayout, entries_below, packer


@dataclass(frozen=True, slots=True)
class _Made:
    """The rows of lists as they were the last times, for these layouts of key and value. `nested`: each entry of the list has
    rows of a list within it, as a tuple; else it is one row."""

    key: Any
    value: Any
    nested: bool
    pairs: EntryMemo[Any] = field(default_factory=EntryMemo)
    tables: deque[tuple[list[Any], Rows]] = field(default_factory=lambda: deque(maxlen=4))

    def table(self, pairs: list[Any]) -> Rows:
        if len(pairs) < FEW:
            return self._flat(pairs)
        for known, rows in self.tables:
            if known is pairs:
                return rows
        for known, rows in self.tables:
            start, rest = unchanged(known, pairs)
            if start + rest >= len(pairs) // 2 and len(rows) == self._count(known):
                gone, new = self._flat(known[start : len(known) - rest]), self._flat(pairs[start : len(pairs) - rest])
                table: Rows = row_delta(rows, gone, new)
                break
        else:
            table = self._flat(pairs)
        self.tables.appendleft((pairs, table))
        return table

    def _flat(self, pairs: list[Any]) -> Rows:
        return dict(chain.from_iterable(pairs)) if self.nested else dict(pairs)

    def _count(self, pairs: list[Any]) -> int:
        return sum(map(len, pairs)) if self.nested else len(pairs)


@derived
def _last_of(_binding: Binding) -> list[_Made]:
    """The memo for the last layouts, if there were any."""
    return []


def is_of_entries_alone(binding: Binding) -> bool:
    """Whether each row depends on one entry of the outermost list only, so that an edit leaves the other rows unchanged."""
    columns = (*binding.keys, *(column for column in binding.values if not column.state))
    lists = [is_list for _, is_list in binding.segments]
    return any(lists) and lists[-1] and all(column.level and column.encoding != "port" for column in columns)


def rows_of_entries(binding: Binding, layout: TableLayout, config: Mapping[str, Any], env: Env) -> Rows:
    outermost = next(place for place, (_, is_list) in enumerate(binding.segments) if is_list)
    within = binding.segments[outermost + 1 :]
    below: Any = config
    for name, _ in binding.segments[: outermost + 1]:
        below = below.get(name) if isinstance(below, Mapping) else None
    last = _last_of(binding)
    if not last or last[0].key != layout.key or last[0].value != layout.value:
        last[:] = [_Made(layout.key, layout.value, bool(within))]
    known = last[0]
    row = packer(binding, layout, env)

    def work(_: int, entry: Any) -> Row | tuple[Row, ...]:
        return tuple(map(row, entries_below(entry, within, (config, entry)))) if within else row((config, entry))

    return known.table(known.pairs.each(below or (), work))
