"""Values written in a model (defaults, examples, comparisons) as the JSON values that they stand for."""
from __future__ import annotations

from typing import Any

from schemas.generate.numbers import INTEGERS
from schemas.generate.typedefs import first, type_chain, type_of
from schemas.generate.yang import BASE, Statement, extension_args


def json_value(leaf: Statement, text: str) -> Any:
    """`text` as a value of `leaf`: an int for all integer types, a bool, a list for 'empty', else the text itself."""
    return _value(type_of(leaf), text)


def default_of(leaf: Statement) -> Any:
    """The default of a leaf (or list of defaults of a leaf-list), from itself or its typedefs; None if there is none."""
    own = [json_value(leaf, statement.arg) for statement in leaf.search("default")]
    if leaf.keyword == "leaf-list":
        return own or None
    inherited = [
        json_value(leaf, default.arg)
        for type_ in type_chain(leaf.search_one("type"))
        if (typedef := getattr(type_, "i_typedef", None)) is not None
        for default in typedef.search("default")
    ]
    return next(iter(own + inherited), None)


def examples_of(leaf: Statement) -> list[Any]:
    """The samples of polycube-base:cli-example."""
    return [json_value(leaf, text) for text in extension_args(leaf, BASE, "cli-example")]


def _value(type_: Statement, text: str) -> Any:
    chain = type_chain(type_)
    base = chain[-1].arg
    if base in INTEGERS:
        return _integer(text)
    if base == "boolean":
        return text == "true"
    if base == "empty":
        return [None]
    if base == "union":
        return _union_value(chain, text)
    return text


def _union_value(chain: list[Statement], text: str) -> Any:
    """The value by the first member that it can be one of, as RFC 7950 has it."""
    for member in first(chain, "type"):
        base = type_chain(member)[-1].arg
        fits = {"boolean": text in ("true", "false"), **{name: _is_integer(text) for name in INTEGERS}}
        if fits.get(base, True):
            return _value(member, text)
    return text


def _is_integer(text: str) -> bool:
    return text.removeprefix("-").removeprefix("+").isdecimal()


def _integer(text: str) -> int:
    """YANG writes integers in decimal, 0x hexadecimal or 0 octal."""
    digits = text.lstrip("+-")
    octal = len(digits) > 1 and digits[0] == "0" and digits.isdecimal()
    return int(text, 8 if octal else 0)
