"""BTF of a table's key and value, of the layouts that BCC described: what the kernel requests where a value holds a spin lock.

Types are numbered from 1: the key is KEY, the value VALUE, and what they are built from follows.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

KEY, VALUE = 1, 2
_INT, _ARRAY, _STRUCT, _UNION = 1, 3, 4, 5
_SIGNED = 1
_HEADER = struct.Struct("<HBBIIIII")
_MAGIC, _VERSION = 0xEB9F, 1


def describe(key: Any, value: Any) -> bytes:
    """What BPF_BTF_LOAD takes, of two layouts (compiler/struct_layout.py)."""
    made = _Types([b"", b""])
    made.types[KEY - 1], made.types[VALUE - 1] = made.definition(key), made.definition(value)
    types, names = b"".join(made.types), b"".join(made.names)
    return _HEADER.pack(_MAGIC, _VERSION, 0, _HEADER.size, 0, len(types), len(types), len(names)) + types + names


@dataclass(slots=True)
class _Types:
    """Types in the making, the numbers of those that were met before, and the names, each ended by a zero."""

    types: list[bytes]
    names: list[bytes] = field(default_factory=lambda: [b"\0"])
    known: dict[Any, int] = field(default_factory=dict)

    def name(self, name: str) -> int:
        """Its place among the names; 0: it has none."""
        if not name:
            return 0
        at = sum(map(len, self.names))
        self.names.append(name.encode() + b"\0")
        return at

    def number(self, layout: Any) -> int:
        if layout not in self.known:
            self.known[layout] = self._new()
            self.types[self.known[layout] - 1] = self.definition(layout)
        return self.known[layout]

    def definition(self, layout: Any) -> bytes:
        if layout.kind in ("struct", "union") and layout.fields:
            return self._struct(layout)
        if layout.kind == "scalar" and layout.size in (1, 2, 4, 8, 16):
            return self._scalar(layout.size, signed=layout.signed)
        return self._array(self._scalar_number(1), layout.size)

    def _new(self) -> int:
        self.types.append(b"")
        return len(self.types)

    def _scalar(self, size: int, *, signed: bool) -> bytes:
        name = self.name(f"{'s' if signed else 'u'}{8 * size}")
        return struct.pack("<IIII", name, _INT << 24, size, signed * _SIGNED << 24 | 8 * size)

    def _scalar_number(self, size: int, *, signed: bool = False) -> int:
        if (size, signed) not in self.known:
            self.known[size, signed] = number = self._new()
            self.types[number - 1] = self._scalar(size, signed=signed)
        return self.known[size, signed]

    def _array(self, element: int, count: int) -> bytes:
        return struct.pack("<IIIIII", 0, _ARRAY << 24, 0, element, self._scalar_number(4), count)

    def _struct(self, layout: Any) -> bytes:
        kind = _UNION if layout.kind == "union" else _STRUCT
        fields = sorted(layout.fields, key=lambda each: int(each.offset))  # those of an anonymous union overlap
        members = [struct.pack("<III", self.name(each.name), self._member(each), 8 * each.offset) for each in fields]
        return struct.pack("<III", self.name(layout.name), kind << 24 | len(members), layout.size) + b"".join(members)

    def _member(self, member: Any) -> int:
        one = member.nested
        element = self.number(one) if one else self._scalar_number(member.size // member.count, signed=member.signed)
        if member.count == 1:
            return element
        number = self._new()
        self.types[number - 1] = self._array(element, member.count)
        return number
