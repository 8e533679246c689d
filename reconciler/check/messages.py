"""What a schema has against a value, as text that can be acted on.

jsonschema finds the errors; its sentences are for those who know JSON Schema ("'acton' does not match any of the
regexes"), so they are not used.
"""
from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from reconciler.document import Path
from reconciler.document.suggest import near_miss
from reconciler.errors import Hint

Error: TypeAlias = Any
"""A ValidationError of jsonschema, whose type hints know nothing of the keyword that it is about."""

_TYPE_NAMES = {
    "object": "a mapping", "array": "a list", "string": "text", "boolean": "true or false", "integer": "a whole number",
    "number": "a number", "null": "nothing",
}
_LONGEST = 60
_LAST_PORT = 65535


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong at `path` in the data that was checked. `key`: the key there is at fault, not its value."""

    path: Path
    message: str
    hint: str | Hint = ""
    key: bool = False
    related: tuple[tuple[Path, str], ...] = ()


def findings(error: Error, root: Mapping[str, Any], data: Any) -> Iterator[Finding]:
    """What one error of jsonschema means; `root` is the schema that `data` was checked with."""
    path = tuple(error.absolute_path)
    if error.validator == "not":
        yield from _not_here(error, root, data)
    elif (say := _SAY.get(str(error.validator))) is not None:
        yield from say(error, _reason(error, root), path)
    else:
        yield Finding(path, _reason(error, root) or error.message)


def quoted(value: Any) -> str:
    """A value as part of a sentence: text in quotes, and shortened if it is long."""
    text = {True: "true", False: "false", None: "no value"}.get(value) if value is None or value.__class__ is bool else None
    text = text or (f'"{value}"' if isinstance(value, str) else str(value))
    return text if len(text) <= _LONGEST else text[: _LONGEST - 2] + ('…"' if text.endswith('"') else "…")


def kind_of(value: Any) -> str:
    """What sort of value it is, as text."""
    kinds = {dict: "a mapping", list: "a list", str: f"text ({quoted(value)})", bool: quoted(value), type(None): "no value"}
    return kinds.get(type(value), str(value))


def _unknown_keys(error: Error, _reason: str, path: Path) -> Iterator[Finding]:
    known = error.schema.get("properties", {})
    before = ""
    for key, value in error.instance.items():
        if key not in known:
            state = key in error.schema.get("x-state", {})
            comma = _cut_at_a_comma(before, error.instance.get(before), key) if value is None else ""
            hint = "it is read-only state; leave it out" if state else comma or near_miss(key, known.keys)
            yield Finding((*path, key), f"unknown key {quoted(key)}", hint, key=True)
        before = key


def _cut_at_a_comma(before: str, value: Any, key: str) -> str:
    """In {flags: SYN,ACK} the comma ends the value, and ACK is a key without one. The hint for such a key, '' if it is none."""
    return f'in braces a comma ends a value: quote it, {before}: "{value},{key}"' if isinstance(value, str) else ""


def _required(error: Error, reason: str, path: Path) -> Iterator[Finding]:
    for key in error.validator_value:
        if key not in error.instance:
            yield Finding(path, f"required key {quoted(key)} is missing", reason)


def _type(error: Error, _reason: str, path: Path) -> Iterator[Finding]:
    types = error.validator_value if isinstance(error.validator_value, list) else [error.validator_value]
    expected = " or ".join(_TYPE_NAMES[name] for name in types)
    value = error.instance
    hint = ""
    if value is None:
        hint = "write a value, or leave the key out"
    elif isinstance(value, str) and "boolean" in types:
        hint = "YAML 1.2 has only true and false" if value.casefold() in ("yes", "no", "on", "off", "true", "false") else ""
    elif isinstance(value, str) and {"integer", "number"} & set(types) and value.removeprefix("-").isdecimal():
        hint = "write it without quotes and leading zeros"
    elif isinstance(value, dict) and "array" in types:
        hint = "start each entry with '- '"
    yield Finding(path, f"expected {expected}, found {kind_of(value)}", hint)


def _enum(error: Error, _reason: str, path: Path) -> Iterator[Finding]:
    values = error.validator_value if error.validator == "enum" else [error.validator_value]
    if not isinstance(error.instance, str) and error.schema.get("type") == "string":
        return  # the type is wrong already
    names = ", ".join(str(value) for value in values)
    wanted = f"is not one of {names}" if len(values) > 1 else f"is not {names}"
    yield Finding(path, f"{quoted(error.instance)} {wanted}", near_miss(error.instance, lambda: map(str, values)))


def _bound(error: Error, reason: str, path: Path) -> Iterator[Finding]:
    word = "more" if error.validator == "maximum" else "less"
    yield Finding(path, f"{error.instance} is {word} than {error.validator_value}", reason)


def _pattern(error: Error, _reason: str, path: Path) -> Iterator[Finding]:
    expected = _expected(error.schema)
    yield Finding(path, f"{quoted(error.instance)} is not valid: {expected}", _meant(error.instance, error.validator_value))


def _expected(schema: Mapping[str, Any]) -> str:
    """What a pattern accepts, in the model's description; never the pattern, which is for machines."""
    examples = schema.get("examples") or ()
    otherwise = f"expected text such as {', '.join(map(str, examples))}" if examples else "it has not the form that it must have"
    return str(schema.get("patternErrorMessage") or otherwise)


def _meant(value: Any, pattern: str) -> str:
    """The spelling of a value that the pattern lets through, if it is one that people mistake: 80:90 for 80-90, and the like."""
    if not isinstance(value, str):
        return ""
    ranged = re.sub(r"^(\d+):(\d+)$", r"\1-\2", value)
    spellings = (ranged, value.replace(" ", ""), value.upper(), value.lower(), value.replace(";", ","))
    found = next((each for each in spellings if each != value and re.search(pattern, each)), None)
    return f'did you mean "{found}"?' if found else ""


def _length(error: Error, _reason: str, path: Path) -> Iterator[Finding]:
    bound = "at least" if error.validator == "minLength" else "at most"
    characters = f"{error.validator_value} character{'s' if error.validator_value != 1 else ''}"
    yield Finding(path, f"{quoted(error.instance)} is not valid: expected {bound} {characters}")


def _count(error: Error, _reason: str, path: Path) -> Iterator[Finding]:
    bound = "at least" if error.validator == "minItems" else "at most"
    entries = "entry" if error.validator_value == 1 else "entries"
    yield Finding(path, f"expected {bound} {error.validator_value} {entries}, found {len(error.instance)}")


def _unique(error: Error, _reason: str, path: Path) -> Iterator[Finding]:
    seen: dict[str, int] = {}
    for index, value in enumerate(error.instance):
        first = seen.setdefault(repr(value), index)
        if first != index:
            related = (((*path, first), "the first one is here"),)
            yield Finding((*path, index), f"{quoted(value)} is listed twice", related=related)


def _any_of(error: Error, reason: str, path: Path) -> Iterator[Finding]:
    """For a union: what all members accept, together. Ranges are unions of bounds."""
    members = [member for member in error.validator_value if "items" not in member]  # of lists: see pcn:list
    if all(set(member) <= {"minimum", "maximum"} for member in members):
        ranges = ", ".join(f"{member['minimum']}..{member['maximum']}" for member in members)
        yield Finding(path, f"{error.instance} is not in {ranges}")
        return
    near = [inner for inner in error.context or () if inner.validator != "type" and inner.validator in _SAY]
    said = {finding.message: finding for inner in near for finding in _SAY[inner.validator](inner, reason, path)}
    names = dict.fromkeys(_member_words(member) for member in members)
    hint = next((finding.hint for finding in said.values() if finding.hint), "")
    numbers = [member for member in members if member.get("type") == "integer"]
    if isinstance(error.instance, str) and numbers:
        message = f"{quoted(error.instance)} is not valid: expected {', or '.join(names)}"
        port = _port_called(error.instance) if any(member.get("maximum") == _LAST_PORT for member in numbers) else 0
        hint = "write it without quotes" if error.instance.isdecimal() else f"its port is {port}" if port else hint
    else:
        message = "; ".join(said) or f"expected {', or '.join(names)}, found {kind_of(error.instance)}"
    yield Finding(path, message, hint)


def _port_called(name: str) -> int:
    """The port of a service such as ssh, as the machine's own list has it; 0 if it has not."""
    import socket

    try:
        return socket.getservbyname(name)
    except (OSError, UnicodeError, ValueError):
        return 0


def _member_words(member: Mapping[str, Any]) -> str:
    """One member of a union: 'a whole number, 0..65535', or the purpose of its pattern."""
    if "patternErrorMessage" in member:
        return str(member["patternErrorMessage"]).removeprefix("expected ")
    if "enum" in member:
        return "one of " + ", ".join(map(str, member["enum"]))
    name = _TYPE_NAMES.get(str(member.get("type")), "a value")
    return f"{name}, {member['minimum']}..{member['maximum']}" if {"minimum", "maximum"} <= member.keys() else name


def _not_here(error: Error, root: Mapping[str, Any], data: Any) -> Iterator[Finding]:
    """A node that is not allowed beside others. If one of those is wrong itself, only that is reported."""
    *parent, name = error.absolute_path
    where = tuple(parent)
    when = _schema_at(root, (*where, name)).get("x-yang-when", {})
    deciding = when.get("leaf")
    if deciding is not None:
        for step in where:
            data = data[step]
        decides = _schema_at(root, (*where, deciding))
        said, names = data.get(deciding, decides.get("default")), decides.get("enum")
        if said is None or (names is not None and said not in names):
            return
    yield Finding((*where, name), _reason(error, root) or f"{quoted(name)} cannot be set here", key=True)


def _reason(error: Error, root: Any) -> str:
    """The model's own text for this error: the `errorMessage` nearest to the keyword that failed; '' if none."""
    reason = root.get("errorMessage", "")
    for step in error.absolute_schema_path:
        root = root[step]
        reason = root.get("errorMessage", reason) if isinstance(root, Mapping) else reason
    return str(reason)


def _schema_at(root: Any, path: Path) -> Mapping[str, Any]:
    for step in path:
        root = root.get("items", {}) if isinstance(step, int) else root.get("properties", {}).get(step, {})
    return root if isinstance(root, Mapping) else {}


_SAY: dict[str, Callable[[Any, Any, Path], Iterator[Finding]]] = {
    "additionalProperties": _unknown_keys, "required": _required, "type": _type, "enum": _enum, "const": _enum,
    "minimum": _bound, "maximum": _bound, "pattern": _pattern, "minLength": _length, "maxLength": _length,
    "minItems": _count, "maxItems": _count, "uniqueItems": _unique, "anyOf": _any_of,
}
