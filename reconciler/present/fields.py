"""A row without bindings in the model, rendered as the fields of its C structs.

The meaning of a field is unknown, but not its width: arrays of six bytes are rendered as MAC addresses, of four or sixteen as
IP addresses, and other fields of up to eight bytes as numbers.
"""
from __future__ import annotations

import ipaddress
import sys
from typing import Any, Protocol

_V4_MAPPED = bytes(10) + b"\xff\xff"


class FieldLayout(Protocol):
    """StructLayout of reconciler.compiler.struct_layout, without the import of the compiler."""

    @property
    def size(self) -> int: ...
    @property
    def fields(self) -> Any: ...


def said(layout: FieldLayout, raw: bytes) -> dict[str, Any]:
    """Values by field; a type without fields has one, 'value'. Nested structs are flattened: 'life/born'. Zero elements of
    arrays of numbers or structs are omitted."""
    if not layout.fields:
        return {"value": _scalar(raw, signed=False)}
    found: dict[str, Any] = {}
    for field in layout.fields:
        part = raw[field.offset : field.offset + field.size]
        if field.count > 1 and field.size == field.count:
            found[field.name] = _bytes(part)
            continue
        width = field.size // field.count
        for number in range(field.count):
            element = part[number * width : (number + 1) * width]
            if field.count > 1 and not any(element):
                continue
            name = field.name if field.count == 1 else f"{field.name}[{number}]"
            if field.nested is None:
                found[name] = _scalar(element, signed=field.signed)
            else:
                found |= {f"{name}/{inner}": value for inner, value in said(field.nested, element).items()}
    return found


def name(table: str, layout: FieldLayout, key: bytes) -> str:
    """The name of the row with this key: 'fib4[length 24, address 10.0.2.0]'."""
    parts = said(layout, key)
    if not layout.fields:
        return f"{table}[{parts['value']}]"
    return f"{table}[{', '.join(f'{field} {value}' for field, value in parts.items() if not _is_filler(field))}]"


def _is_filler(field: str) -> bool:
    return field.rpartition("/")[2].startswith(("zero", "pad", "unused"))


def _scalar(raw: bytes, *, signed: bool) -> Any:
    return int.from_bytes(raw, sys.byteorder, signed=signed) if len(raw) <= 8 else f"0x{raw.hex()}"


def _bytes(raw: bytes) -> Any:
    if len(raw) == 6:
        return raw.hex(":")
    if len(raw) == 16 and raw.startswith(_V4_MAPPED):
        return str(ipaddress.IPv4Address(raw[12:]))
    return str(ipaddress.ip_address(raw)) if len(raw) in (4, 16) else f"0x{raw.hex()}"
