"""Serializes plain data as readable YAML, which any YAML parser parses to the same data.

PyYAML can only print all mappings in one style. Here a small mapping (a port, a rule) is in flow style on one line, and
everything else in block style; text is quoted where YAML 1.1 or 1.2 could parse it as something else.
"""
from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from reconciler.document.construct import plain
from reconciler.incremental.memo import Memo, memoised

WIDTH = 120
"""The longest line of a mapping in flow style, in columns."""
_SAFE = re.compile(r"[A-Za-z0-9_/][A-Za-z0-9_./~^$+()=;<>|'!*&@%-]*(?:(?: |:+)[A-Za-z0-9_./~^$+()=;<>|'!*&@%-]+)*")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}
_UNPRINTABLE = re.compile("[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]|[\"\\\\]")
_ALWAYS_BLOCK = "service-name"
"""A mapping with this key is a cube, and in block style even if it is small."""


def dump_yaml(document: Any, memo: Memo | None = None) -> str:
    """`document` (mappings, lists, text, numbers, booleans, None) as YAML, in its order. `memo` caches quoted
    texts across documents."""
    return (memo or Memo()).run(_dump, document)


def _dump(document: Any) -> str:
    if isinstance(document, Mapping) and document:
        return "\n".join(_mapping(document, 0, top=True)) + "\n"
    if isinstance(document, list) and document:
        return "\n".join(_list(document, 0)) + "\n"
    return _flow(document) + "\n"


def _mapping(data: Mapping[str, Any], indent: int, *, top: bool = False) -> Iterator[str]:
    for key, value in data.items():
        head = f"{' ' * indent}{_text(str(key))}:"
        if not top or not isinstance(value, Mapping):
            flow = _short(value, WIDTH - len(head))
            if flow is not None:
                yield f"{head} {flow}"
                continue
        yield head if value else f"{head} {_flow(value)}"
        yield from _mapping(value, indent + 2) if isinstance(value, Mapping) else _list(value, indent + 2)


def _list(data: list[Any], indent: int) -> Iterator[str]:
    for entry in data:
        head = f"{' ' * indent}- "
        flow = _short(entry, WIDTH - len(head))
        if flow is not None:
            yield head + flow
            continue
        lines = _mapping(entry, indent + 2) if isinstance(entry, Mapping) else _list(entry, indent + 2)
        yield head + next(lines).lstrip(" ")
        yield from lines


def _short(value: Any, room: int) -> str | None:
    """The value in flow style; None for a list or mapping that is not small, or longer than `room`."""
    if not isinstance(value, Mapping | list) or not value:
        return _flow(value)
    if not _is_small(value):
        return None
    flow = _flow(value)
    return flow if len(flow) <= room else None


def _is_small(value: Any) -> bool:
    """Whether a value can be in flow style: a scalar, a list of scalars, or a mapping of such values that is no cube."""
    if isinstance(value, Mapping):
        return _ALWAYS_BLOCK not in value and all(map(_is_small, value.values()))
    return not isinstance(value, list) or not any(isinstance(part, Mapping | list) for part in value)


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_text(str(key))}: {_flow(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, str):
        return _text(value)
    return {True: "true", False: "false", None: "null"}[value] if value is None or isinstance(value, bool) else repr(value)


@memoised
def _text(text: str) -> str:
    if _SAFE.fullmatch(text) and isinstance(plain(text), str) and not _was_no_text(text):
        return text
    return '"' + _UNPRINTABLE.sub(_escaped, text) + '"'


def _was_no_text(text: str) -> bool:
    """Whether YAML 1.1 resolves a plain scalar to another type: `ON` as true, 52:54:00:12:34:56 as a number."""
    resolvers = yaml.SafeLoader.yaml_implicit_resolvers.get(text[0], ())
    return text in ("y", "n", "Y", "N") or any(pattern.match(text) for _, pattern in resolvers)


def _escaped(found: re.Match[str]) -> str:
    character = found.group()
    code = ord(character)
    return _ESCAPES.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
