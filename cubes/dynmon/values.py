"""Rows of a table as plain values, by the types that its C has."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from cubes.lib.layout import number

HASH, ARRAY, PERCPU_HASH, PERCPU_ARRAY, LRU_HASH, LRU_PERCPU_HASH, LPM_TRIE = 1, 2, 5, 6, 9, 10, 11  # enum bpf_map_type
ARRAYS = frozenset({ARRAY, PERCPU_ARRAY})
READABLE = ARRAYS | {HASH, PERCPU_HASH, LRU_HASH, LRU_PERCPU_HASH, LPM_TRIE}


def value_of(table: Any, rows: Mapping[bytes, bytes]) -> list[Any]:
    """Of an array the values in order, else the rows by their keys: {key, value}. Of a row per CPU `rows` has the sum."""
    if table.type in ARRAYS:
        return [plain(table.value, rows[key]) for key in sorted(rows, key=number)]
    return [{"key": plain(table.key, key), "value": plain(table.value, rows[key])} for key in sorted(rows)]


def plain(layout: Any, raw: bytes) -> Any:
    """A number, a mapping of a struct's fields, or hexadecimal digits where BCC does not describe the type."""
    if layout.kind == "scalar":
        return _number(raw, layout.signed)
    if layout.kind == "bytes":
        return raw.hex()
    return {field.name: _field(field, raw[field.offset : field.offset + field.size]) for field in layout.fields}


def _field(field: Any, raw: bytes) -> Any:
    size = field.size // field.count if field.count else 1
    parts = [raw[at : at + size] for at in range(0, len(raw), size)]
    if field.nested is not None:
        found = [plain(field.nested, part) for part in parts]
    elif size == 1 and field.signed and field.count > 1:  # char name[16]
        return raw.partition(b"\0")[0].decode("utf-8", "replace")
    else:
        found = [_number(part, field.signed) for part in parts]
    return found[0] if field.count == 1 else found


def _number(raw: bytes, signed: bool) -> int:
    return int.from_bytes(raw, sys.byteorder, signed=signed)
