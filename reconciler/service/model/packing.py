"""One row: leaves of a configuration's entries packed into key and value, as a model's bindings say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from reconciler.service.model.bindings import Binding, Column
from reconciler.service.model.codec import Env, encode

Row = tuple[bytes, bytes]
Rows = dict[bytes, bytes]


class RowLayout(Protocol):
    size: int
    fields: Sequence[Any]


class TableLayout(Protocol):
    type: int
    key: Any
    value: Any
    max_entries: int


def place(layout: Any, name: str) -> tuple[int, int]:
    """(offset, size) of a field, or of the whole for ''. Raises KeyError naming both sides of the mismatch."""
    if not name:
        return 0, layout.size
    for candidate in layout.fields or ():
        if candidate.name == name:
            return candidate.offset, candidate.size
    known = ", ".join(candidate.name for candidate in layout.fields or ()) or "no fields"
    raise KeyError(f"the model names field {name!r}, the C struct has {known}")


def refuse_misfits(bound: Iterable[Binding], tables: Mapping[str, TableLayout]) -> None:
    """Raises KeyError for a leaf whose field the C lacks, whether it is configuration or state."""
    for binding in bound:
        layout = tables.get(binding.table)
        sides = ((layout.key, binding.keys), (layout.value, binding.values)) if layout is not None else ()
        for column, side in ((column, side) for side, columns in sides for column in columns):
            try:
                place(side, column.place)
            except KeyError as error:
                raise KeyError(f"leaf {'/'.join(column.path)!r}, table {binding.table!r}: {error.args[0]}") from None


def entries(config: Any, segments: Sequence[tuple[str, bool]]) -> Iterator[tuple[Any, ...]]:
    """Each entry that segments point to, as the chain of (root, outer entry, ..., entry)."""
    if not any(is_list for _, is_list in segments):
        yield (config,)  # leaves of an unkeyed row are addressed from the root
        return
    yield from entries_below(config, segments, (config,))


def entries_below(node: Any, segments: Sequence[tuple[str, bool]], above: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """The same of the entries under a node, which `above` lists from the root on."""
    if not segments:
        yield above
        return
    (name, is_list), *following = segments
    below = node.get(name) if isinstance(node, Mapping) else None
    if below is None:
        return
    for entry in below if is_list else (below,):
        yield from entries_below(entry, following, (*above, entry) if is_list else above)


def packer(binding: Binding, layout: TableLayout, env: Env) -> Callable[[Sequence[Any]], Row]:
    """A function from (root, outer entry, ..., entry) to a row."""
    keys = _placed(layout.key, binding.keys if binding.is_list else ())
    values = _placed(layout.value, [column for column in binding.values if not column.state])
    key_size, value_size = layout.key.size, layout.value.size
    return lambda entries: (_pack(key_size, keys, entries, env), _pack(value_size, values, entries, env))


Placed = Sequence[tuple[Column, int, int]]
"""Columns with offset and size of their fields."""


def _placed(layout: Any, columns: Iterable[Column]) -> Placed:
    return [(column, *place(layout, column.place)) for column in columns]


def _pack(whole: int, columns: Placed, entries: Sequence[Any], env: Env) -> bytes:
    raw = bytearray(whole)
    for column, offset, size in columns:
        value = leaf_at(entries[column.level], column.path, column.default)
        if value is None:
            continue
        try:
            raw[offset : offset + size] = encode(column.encoding, value, size, env, column.enum)
        except (ValueError, OverflowError, KeyError) as error:
            raise ValueError(f"{'/'.join(column.path)}: {value!r}: {error}") from None
    return bytes(raw)


def leaf_at(entry: Any, path: Sequence[str], default: Any) -> Any:
    for name in path:
        entry = entry.get(name) if isinstance(entry, Mapping) else None
    return default if entry is None else entry
