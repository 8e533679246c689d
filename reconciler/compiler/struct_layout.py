"""The layout of a table's key and value: offsets of fields.

BCC describes both types of a table in JSON, with explicit padding. Offsets are computed from that here, and the sum is compared
with the map's size: rows are written to these offsets, so an inconsistent description is discarded, and the type is then opaque
bytes.
"""
from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

_SCALARS: dict[str, tuple[int, bool]] = {  # C name: (bytes, signed), on the BPF target
    "_Bool": (1, False), "char": (1, True), "signed char": (1, True), "unsigned char": (1, False),
    "short": (2, True), "unsigned short": (2, False), "int": (4, True), "unsigned int": (4, False),
    "long": (8, True), "unsigned long": (8, False), "long long": (8, True), "unsigned long long": (8, False),
    "__int128": (16, True), "unsigned __int128": (16, False), "enum": (4, False),
}


@dataclass(frozen=True, slots=True)
class Field:
    """`offset` and `size` in bytes, from the start of the struct that holds it; `size` is of all `count` elements.
    `nested` is the layout of one element where that is no scalar."""

    name: str
    offset: int
    size: int
    count: int = 1
    signed: bool = False
    nested: StructLayout | None = None


@dataclass(frozen=True, slots=True)
class StructLayout:
    """A C type. `kind`: scalar, struct, union, or bytes (opaque). Padding is no field; the members of an anonymous struct or
    union are fields of the enclosing type, as in C."""

    kind: str
    size: int
    name: str = ""
    fields: tuple[Field, ...] = ()
    signed: bool = False

    def field(self, name: str) -> Field:
        """Raises KeyError."""
        for candidate in self.fields:
            if candidate.name == name:
                return candidate
        raise KeyError(name)

    def to_json(self) -> list[Any]:
        fields = [[f.name, f.offset, f.size, f.count, f.signed, f.nested and f.nested.to_json()] for f in self.fields]
        return [self.kind, self.size, self.name, fields, self.signed]

    @classmethod
    def from_json(cls, data: list[Any]) -> StructLayout:
        kind, size, name, fields, signed = data
        nested = [(*rest, inner and cls.from_json(inner)) for *rest, inner in fields]
        return cls(kind, size, name, tuple(Field(*values) for values in nested), signed)


Leaf = tuple[str, int, int, int]
"""Path of names joined by dots, offset and size in bytes, and number of elements."""


def leaves(layout: StructLayout) -> tuple[Leaf, ...]:
    """All scalars of a type; in an array of structs with their offset in the first element."""
    if not layout.fields:
        return (("", 0, layout.size, 1),)
    found: list[Leaf] = []
    for field in layout.fields:
        if field.nested is None:
            found.append((field.name, field.offset, field.size, field.count))
        else:
            inner = ((f"{field.name}.{name}", field.offset + at, size, count) for name, at, size, count in leaves(field.nested))
            found += [(name, at, size, count * field.count) for name, at, size, count in inner]
    return tuple(found)


def is_laid_out_alike(old: StructLayout, new: StructLayout) -> bool:
    """Whether values of one type can be read as the other. A field with a new name at the offset of a removed one was renamed.
    Opaque bytes match any type of their size."""
    if "bytes" in (old.kind, new.kind):
        return old.size == new.size
    before, after = ({name: place for name, *place in leaves(each)} for each in (old, new))
    if any(before[name] != after[name] for name in before.keys() & after.keys()):
        return False
    gone, come = (sorted(one[name] for name in one.keys() - other.keys()) for one, other in ((before, after), (after, before)))
    return old.size == new.size and gone == come


class _Unknown(Exception):
    """BCC's description is incomplete."""


def layout(description: str, size: int) -> StructLayout:
    """The layout of a type of `size` bytes, from BCC's JSON; of kind `bytes` if that is not reliable.

    BCC describes bit-fields and arrays of more than one dimension wrongly.
    """
    try:
        found = _type(json.loads(description)) if description else StructLayout("bytes", size)
    except (_Unknown, ValueError):
        return StructLayout("bytes", size)
    return found if found.size == size else StructLayout("bytes", size, found.name)


def _type(description: Any) -> StructLayout:
    if isinstance(description, str):
        if description not in _SCALARS:
            raise _Unknown(description)
        size, signed = _SCALARS[description]
        return StructLayout("scalar", size, description, (), signed)
    name, members, kind = description
    if kind not in ("struct_packed", "union"):
        raise _Unknown(kind)  # "struct": BCC omits padding where there are bit-fields
    fields, size = _members(members, "union" if kind == "union" else "struct")
    return StructLayout("union" if kind == "union" else "struct", size, name, fields)


def _members(members: list[Any], kind: str) -> tuple[tuple[Field, ...], int]:
    fields: list[Field] = []
    end = 0
    for member in members:
        at = 0 if kind == "union" else end
        if len(member) == 3 and isinstance(member[2], str):  # an anonymous struct or union
            inner = _type(member)
            size = inner.size
            fields += [Field(f.name, at + f.offset, f.size, f.count, f.signed, f.nested) for f in inner.fields]
        else:
            field = _field(member, at)
            size = field.size
            if not field.name.startswith("__pad_"):
                fields.append(field)
        end = max(end, at + size)
    return tuple(fields), end


def _field(member: list[Any], at: int) -> Field:
    name, description, *rest = member
    if rest and not isinstance(rest[0], list):
        raise _Unknown(name)  # the width of a bit-field
    count = rest[0][0] if rest else 1
    element = _type(description)
    return Field(name, at, element.size * count, count, element.signed, None if element.kind == "scalar" else element)
