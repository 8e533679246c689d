"""Values as commands and requests have them, as what the model means: 80 where it wants text, "80" where it wants a number.

A command line cannot tell one from the other, and clients guess. The first reading that the model accepts is taken; what it
accepts in none stays as it is, for the check that follows to state why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from reconciler.check.normal import normalise
from reconciler.check.schema_compiler import quick_test


def meant(schema: Mapping[str, Any], value: Any) -> Any:
    """`value` as the model means it, at any depth."""
    if isinstance(value, dict):
        known = {**schema.get("properties", {}), **schema.get("x-state", {})}
        return {name: meant(known[name], part) if name in known else part for name, part in value.items()}
    if isinstance(value, list):
        return [meant(schema.get("items", {}), part) for part in value]
    return _scalar(schema, value)


def _scalar(schema: Mapping[str, Any], value: Any) -> Any:
    test = quick_test(schema)
    for reading in _readings(value):
        spelled = normalise(schema, reading, lambda _: None)[0]
        if test(spelled):
            return spelled
    return value


def _readings(value: Any) -> Iterator[Any]:
    yield value
    if isinstance(value, bool):
        yield "true" if value else "false"
    elif isinstance(value, int):
        yield str(value)
    elif isinstance(value, float):
        yield str(int(value)) if value.is_integer() else repr(value)
    elif isinstance(value, str) and value.isascii() and value.removeprefix("-").isdecimal() and len(value) < 24:
        yield int(value)
