"""Rows of tables by the names of their C structs' fields."""

from __future__ import annotations

import sys
from typing import Any

from reconciler.service.sdk import place


def pack(layout: Any, **fields: Any) -> bytes:
    """A struct with these fields: numbers in the host's order, bytes as they are; all else is zero."""
    raw = bytearray(layout.size)
    for name, value in fields.items():
        offset, size = place(layout, name)
        raw[offset : offset + size] = value.to_bytes(size, sys.byteorder) if isinstance(value, int) else value
    return bytes(raw)


def unpack(layout: Any, raw: bytes) -> dict[str, bytes]:
    """Every field's bytes, by its name."""
    return {found.name: raw[found.offset : found.offset + found.size] for found in layout.fields}


def number(raw: bytes) -> int:
    return int.from_bytes(raw, sys.byteorder)


def index(value: int) -> bytes:
    """A u32, as the keys of arrays are."""
    return value.to_bytes(4, sys.byteorder)
