"""Number types, and the ranges and lengths that types are restricted to.

Where RFC 7951 writes a number as a string (64 bit and decimal64), a number is accepted as well: people write YAML.
"""
from __future__ import annotations

from typing import Any

from schemas.generate.typedefs import first
from schemas.generate.yang import Schema, Statement

SMALL_INTEGERS = ("int8", "int16", "int32", "uint8", "uint16", "uint32")
BIG_INTEGERS = ("int64", "uint64")
INTEGERS = SMALL_INTEGERS + BIG_INTEGERS


def integer_schema(chain: list[Statement], base: str) -> Schema:
    schema: Schema = {"type": "integer" if base in SMALL_INTEGERS else ["integer", "string"]}
    schema |= bounds(_ranges(chain), "minimum", "maximum")
    if base in BIG_INTEGERS:
        schema |= {"pattern": r"^(?:0|-?[1-9][0-9]*)$(?!\n)" if base == "int64" else r"^(?:0|[1-9][0-9]*)$(?!\n)"}
        schema |= {"patternErrorMessage": "expected a whole number", "x-yang-type": base}
    return schema


def _ranges(chain: list[Statement]) -> list[tuple[Any, Any]]:
    """Allowed (least, greatest) pairs of a number type, in rising order."""
    spec = chain[0].i_type_spec
    while (base := getattr(spec, "base", None)) is not None and not hasattr(spec, "ranges"):
        spec = base
    pairs = getattr(spec, "ranges", None) or [(spec.min, spec.max)]
    return [pair(low, high, spec) for low, high in pairs]


def pair(low: Any, high: Any, spec: Any) -> tuple[Any, Any]:
    first = spec.min if low == "min" else low
    last = first if high is None else spec.max if high == "max" else high
    return _number(first), _number(last)


def _number(value: Any) -> Any:
    """An int, or the float of pyang's decimal64."""
    return value if isinstance(value, int) else float(str(value.s))


def bounds(pairs: list[tuple[Any, Any]], least: str, greatest: str) -> Schema:
    """`least` and `greatest` keywords for the pairs; several pairs are told apart by anyOf."""
    schema: Schema = {least: pairs[0][0], greatest: pairs[-1][1]}
    if len(pairs) > 1:
        schema["anyOf"] = [{least: low, greatest: high} for low, high in pairs]
    return schema


def decimal_schema(chain: list[Statement]) -> Schema:
    digits = chain[-1].search_one("fraction-digits") or first(chain, "fraction-digits")[0]
    schema: Schema = {"type": ["number", "string"], **bounds(_ranges(chain), "minimum", "maximum")}
    schema["pattern"] = rf"^-?[0-9]+(?:\.[0-9]{{1,{digits.arg}}})?$(?!\n)"
    return schema | {"patternErrorMessage": f"expected a decimal number with at most {digits.arg} digits after the point",
                     "x-yang-type": "decimal64"}
