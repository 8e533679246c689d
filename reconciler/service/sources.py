"""The parts of a cube's programs that depend on its configuration: C from a service's Python half, which is validated, and
packet filters.

A text that originates from a configuration is a user's. It is compiled like any other, in the compiler's own confined
process, and is never a part of another text; its name is a plain one, since it appears in messages and beside the service's
own files.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

MOST_PROGRAMS = 32  # of a cube in one direction
MOST_BYTES = 1 << 18  # of one text

_NAME = re.compile(r"[A-Za-z0-9_][\w-]*\.c", re.ASCII)
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Program:
    """One µCube: a file of the service's, or a text that is called so, in which names represent others (`renames`)."""

    name: str
    text: str | None = None
    renames: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter in tcpdump's syntax: the name by which C requests it (pcn_filter), the steps from the cube to its leaf, its
    text."""

    name: str
    leaf: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class CubeSources:
    """A cube's programs by direction, in µCube order, and the filters in them. `digest` represents all of it."""

    programs: Mapping[str, tuple[Program, ...]]
    digest: str
    filters: tuple[Filter, ...] = ()


def cube_sources(
    said: Mapping[str, Sequence[Any]], own: Mapping[str, Sequence[str]], filters: tuple[Filter, ...] = ()
) -> CubeSources | None:
    """The result of a Python half's `sources`, and the filters in the configuration; None if it equals the model's
    declaration. `own`: the service's files by direction.

    A direction without an entry keeps its files. Raises ValueError.
    """
    programs = {direction: tuple(Program(name) for name in names) for direction, names in own.items()}
    kept = dict(programs)
    for direction, given in said.items():
        if not own.get(direction):
            raise ValueError(f"sources: the model has no {direction} programs")
        if not 0 < len(given) <= MOST_PROGRAMS:
            raise ValueError(f"sources: {len(given)} {direction} programs; a cube has 1 to {MOST_PROGRAMS}")
        programs[direction] = tuple(_program(each) for each in given)
    if programs == kept and not filters:
        return None
    listed: list[Any] = [[direction, list(map(_content, found))] for direction, found in sorted(programs.items())]
    listed += [[each.name, each.text] for each in filters]
    return CubeSources(programs, hashlib.blake2b(json.dumps(listed).encode(), digest_size=8).hexdigest(), filters)


def _content(program: Program) -> list[Any]:
    return [program.name, program.text, *sorted(program.renames.items())]


def _program(given: Any) -> Program:
    name, text, renames = (given, None, {}) if isinstance(given, str) else (*given, {}) if len(given) == 2 else given
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"sources: {name!r} is no plain name of a C file")
    if isinstance(text, bytes):
        text = text.decode()  # a UnicodeDecodeError is a ValueError
    if text is not None and (not isinstance(text, str) or "\0" in text or len(text.encode()) > MOST_BYTES):
        raise ValueError(f"sources: {name} is no C text of at most {MOST_BYTES} bytes")
    if not all(_IDENTIFIER.fullmatch(word) for word in chain.from_iterable(renames.items())):
        raise ValueError(f"sources: {name}: only a name of C can stand for another one")
    return Program(name, text, renames)
