"""The C of a cube that depends on its configuration: what a service's Python half says of it, held against what may be said.

A text that comes from a configuration is a user's. It is compiled like any other, in the compiler's own confined process, and
is never a part of another text; its name is a plain one, since it stands in messages and beside the service's own files.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MOST_PROGRAMS = 32  # of a cube in one direction
MOST_BYTES = 1 << 18  # of one text

_NAME = re.compile(r"[A-Za-z0-9_][\w-]*\.c", re.ASCII)


@dataclass(frozen=True, slots=True)
class Program:
    """One µCube: a file of the service's, or a text that is called so."""

    name: str
    text: str | None = None


@dataclass(frozen=True, slots=True)
class CubeSources:
    """A cube's programs by direction, in µCube order. `digest` stands for all that its service said."""

    programs: Mapping[str, tuple[Program, ...]]
    digest: str


def cube_sources(said: Mapping[str, Sequence[Any]], own: Mapping[str, Sequence[str]]) -> CubeSources | None:
    """What a Python half's `sources` gave; None if that is what the model says anyway. `own`: the service's files by direction.

    A direction of which nothing is said keeps its files. Raises ValueError.
    """
    programs = {direction: tuple(Program(name) for name in names) for direction, names in own.items()}
    kept = dict(programs)
    for direction, given in said.items():
        if not own.get(direction):
            raise ValueError(f"sources: the model has no {direction} programs")
        if not 0 < len(given) <= MOST_PROGRAMS:
            raise ValueError(f"sources: {len(given)} {direction} programs; a cube has 1 to {MOST_PROGRAMS}")
        programs[direction] = tuple(_program(each) for each in given)
    if programs == kept:
        return None
    listed = [[direction, [[each.name, each.text] for each in found]] for direction, found in sorted(programs.items())]
    return CubeSources(programs, hashlib.blake2b(json.dumps(listed).encode(), digest_size=8).hexdigest())


def _program(given: Any) -> Program:
    name, text = (given, None) if isinstance(given, str) else given
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"sources: {name!r} is no plain name of a C file")
    if isinstance(text, bytes):
        text = text.decode()  # a UnicodeDecodeError is a ValueError
    if text is not None and (not isinstance(text, str) or "\0" in text or len(text.encode()) > MOST_BYTES):
        raise ValueError(f"sources: {name} is no C text of at most {MOST_BYTES} bytes")
    return Program(name, text)
