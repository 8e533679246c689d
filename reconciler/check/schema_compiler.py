"""Fast path of validation: compiled predicates accept valid data, and jsonschema explains the rest.

jsonschema reports the errors of a document, but takes 66 ms to import and 60 us a rule. So a schema is compiled into small
predicates; if one rejects, jsonschema decides. A schema with an unsupported keyword gets a predicate that always rejects:
slower, never wrong.
"""
from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from reconciler.incremental.entry_memo import FEW, EntryMemo
from reconciler.incremental.memo import derived
from reconciler.incremental.persistent_list import Distinct

Test = Callable[[Any], bool]

_NOTES = frozenset((
    "$schema", "$id", "$comment", "title", "description", "default", "examples", "deprecated", "format", "contentEncoding",
    "patternErrorMessage", "errorMessage", "enumDescriptions", "markdownDescription",
))
_EXACT = frozenset(("properties", "required", "enum", "const"))
"""Keywords whose tests are right about no as well, as the test of an `if` has to be."""

_TYPES: dict[str, Test] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: value.__class__ is int or (value.__class__ is float and value.is_integer()),
    "number": lambda value: value.__class__ is int or value.__class__ is float,
    "null": lambda value: value is None,
}


class _NotKnown(Exception):
    """The schema uses a keyword, or a form of one, that only jsonschema supports."""


@derived
def quick_test(schema: Any) -> Test:
    """A function that is true only for data that is valid by `schema`; it is created once for a schema object."""
    try:
        return _compile(schema)
    except _NotKnown:
        return _never


def _never(_: Any) -> bool:
    return False


def _always(_: Any) -> bool:
    return True


def _compile(schema: Any) -> Test:
    if isinstance(schema, bool):
        return _always if schema else _never
    keywords = {keyword for keyword in schema if keyword not in _NOTES and not keyword.startswith("x-")}
    makers = [(handled, maker) for handled, maker in _MAKERS if handled & keywords]
    unknown = keywords.difference(*(handled for handled, _ in makers))
    if unknown:
        raise _NotKnown(unknown)
    return _all([test for _, maker in makers for test in maker(schema)])


def _all(tests: list[Test]) -> Test:
    if not tests:
        return _always
    if len(tests) == 1:
        return tests[0]
    if len(tests) == 2:
        first, second = tests
        return lambda value: first(value) and second(value)
    return lambda value: all(test(value) for test in tests)


def _type(schema: Mapping[str, Any]) -> Iterable[Test]:
    names = schema["type"]
    if isinstance(names, str):
        return [_TYPES[names]]
    tests = [_TYPES[name] for name in names]
    return [lambda value: any(test(value) for test in tests)]


def _properties(schema: Mapping[str, Any]) -> Iterable[Test]:
    """properties, required and additionalProperties in one pass over the object."""
    tests = {name: _compile(part) for name, part in schema.get("properties", {}).items()}
    required = frozenset(schema.get("required", ()))
    others = schema.get("additionalProperties", True)
    if not isinstance(others, bool):
        raise _NotKnown("additionalProperties")
    other = _always if others else _never

    def test(value: Any) -> bool:
        if value.__class__ is not dict:
            return True
        for name, child in value.items():
            if not tests.get(name, other)(child):
                return False
        return required <= value.keys()

    return [test]


def _items(schema: Mapping[str, Any]) -> Iterable[Test]:
    if isinstance(schema["items"], list):
        raise _NotKnown("items")
    item, known = _compile(schema["items"]), EntryMemo[bool]()
    return [lambda value: not isinstance(value, list) or all(known.each(value, lambda _, entry: item(entry)))]


def _enum(values: list[Any]) -> Iterable[Test]:
    if not all(isinstance(value, str) for value in values):
        raise _NotKnown("enum")  # 1, 1.0 and true are equal in Python
    allowed = frozenset(values)
    return [lambda value: value.__class__ is str and value in allowed]


def _bounds(schema: Mapping[str, Any]) -> Iterable[Test]:
    low, high = schema.get("minimum", float("-inf")), schema.get("maximum", float("inf"))
    return [lambda value: isinstance(value, bool) or not isinstance(value, int | float) or low <= value <= high]


def _lengths(schema: Mapping[str, Any]) -> Iterable[Test]:
    low, high = schema.get("minLength", 0), schema.get("maxLength", float("inf"))
    return [lambda value: value.__class__ is not str or low <= len(value) <= high]


def _counts(schema: Mapping[str, Any]) -> Iterable[Test]:
    low, high = schema.get("minItems", 0), schema.get("maxItems", float("inf"))
    return [lambda value: not isinstance(value, list) or low <= len(value) <= high]


def _pattern(schema: Mapping[str, Any]) -> Iterable[Test]:
    search = re.compile(schema["pattern"]).search
    return [lambda value: value.__class__ is not str or search(value) is not None]


def _text(item: Any) -> str:
    """Raises TypeError if it is none: whether others are alike is the slow check's affair."""
    if item.__class__ is not str:
        raise TypeError
    return str(item)


def _unique(schema: Mapping[str, Any]) -> Iterable[Test]:
    long = Distinct(_text)  # of a list that was edited, only what is new is looked at

    def test(value: Any) -> bool:
        if not isinstance(value, list):
            return True
        try:
            return long.holds(value) if len(value) >= FEW else len(set(map(_text, value))) == len(value)
        except TypeError:
            return False

    return [test] if schema["uniqueItems"] else []


def _any_of(schema: Mapping[str, Any]) -> Iterable[Test]:
    tests = [_compile(part) for part in schema["anyOf"]]
    return [lambda value: any(test(value) for test in tests)]


def _all_of(schema: Mapping[str, Any]) -> Iterable[Test]:
    return [_compile(part) for part in schema["allOf"]]


def _not(schema: Mapping[str, Any]) -> Iterable[Test]:
    if schema["not"] != {}:
        raise _NotKnown("not")
    return [_never]  # how the generator says that something cannot be here


def _if(schema: Mapping[str, Any]) -> Iterable[Test]:
    _check_exact(schema.get("if", {}))
    condition, then, otherwise = (_compile(schema.get(part, {})) for part in ("if", "then", "else"))
    return [lambda value: then(value) if condition(value) else otherwise(value)]


def _check_exact(schema: Mapping[str, Any]) -> None:
    if not schema.keys() <= _EXACT:
        raise _NotKnown("if")
    for part in schema.get("properties", {}).values():
        _check_exact(part)


_MAKERS: tuple[tuple[frozenset[str], Callable[[Mapping[str, Any]], Iterable[Test]]], ...] = (
    (frozenset(("type",)), _type),
    (frozenset(("enum",)), lambda schema: _enum(schema["enum"])),
    (frozenset(("const",)), lambda schema: _enum([schema["const"]])),
    (frozenset(("minimum", "maximum")), _bounds),
    (frozenset(("minLength", "maxLength")), _lengths),
    (frozenset(("pattern",)), _pattern),
    (frozenset(("properties", "required", "additionalProperties")), _properties),
    (frozenset(("minItems", "maxItems")), _counts),
    (frozenset(("items",)), _items),
    (frozenset(("uniqueItems",)), _unique),
    (frozenset(("anyOf",)), _any_of),
    (frozenset(("allOf",)), _all_of),
    (frozenset(("not",)), _not),
    (frozenset(("if", "then", "else")), _if),
)
