"""Long lists of short entries, the bulk of large documents, read line by line.

libyaml's events of a line such as `- {network: 10.1.0.0/16, nexthop: 10.0.0.1}` take three times as long as splitting it. So of
many consecutive lines with one entry each, in the simplest YAML, the parser gets only the first and the last,
with blank lines between, and the consumer of its events inserts the others. The parser also decides whether the lines are
entries of a list, and not part of a text: the others are siblings only if it parses the first as an entry of a list.
"""
from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from sys import intern
from typing import Any

MANY = 64  # consecutive entries for which this pays
OTHER_BREAKS = ("\r", "\x85", "\u2028", "\u2029")  # of YAML, beside \n

_WORD = r"[A-Za-z0-9](?:[\w./:-]*\w)?"
_ENTRY = re.compile(rf"( *- )(\{{(?:[A-Za-z][\w-]*: {_WORD}(?:, |(?=\}})))+\}}|{_WORD})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Entries:
    """The entries in some lines; `size`: the number of values in them, keys included."""

    values: list[Any]
    size: int


def taken_out(text: str, plain: Callable[[str], Any]) -> tuple[str, dict[int, Entries]]:
    """The text with the inner lines of runs of entries blanked, and their entries, by the line (from 0) of the entry before them.
    `plain` resolves a plain scalar."""
    if text.count("\n") < MANY or any(mark in text for mark in OTHER_BREAKS):
        return text, {}
    lines, found = text.split("\n"), {}
    for first, end in _runs(lines):
        if entries := _entries(lines[first + 1 : end - 1], plain):
            found[first] = entries
            lines[first + 1 : end - 1] = [""] * (end - first - 2)
    return ("\n".join(lines), found) if found else (text, {})


def _runs(lines: list[str]) -> Iterator[tuple[int, int]]:
    """Half-open ranges of lines that are entries with the same indentation, all mappings or all scalars."""
    end = 0
    for begins, some in groupby(lines, _beginning):
        first, end = end, end + sum(1 for _ in some)
        if begins and end - first >= MANY:
            yield first, end


def _beginning(line: str) -> str:
    """The prefix of an entry's line, '' if the line is none."""
    found = _ENTRY.fullmatch(line)
    return found[1] + ("{" if line[-1] == "}" else "") if found else ""


def _entries(lines: list[str], plain: Callable[[str], Any]) -> Entries | None:
    """None if one has a duplicate key."""
    begin = lines[0].index("- ") + 2
    if lines[0][-1] != "}":
        return Entries([plain(line[begin:]) for line in lines], len(lines))
    values, size, known = [], len(lines), _Known(plain)
    for line in lines:
        pairs = line[begin + 1 : -1].split(", ")
        entry = {intern(name): known[word] for name, _, word in [pair.partition(": ") for pair in pairs]}
        if len(entry) != len(pairs):
            return None
        values.append(entry)
        size += 2 * len(pairs)
    return Entries(values, size)


class _Known(dict[str, Any]):
    """Scalars by their text, each resolved once."""

    def __init__(self, plain: Callable[[str], Any]) -> None:
        super().__init__()
        self._plain = plain

    def __missing__(self, word: str) -> Any:
        made = self[word] = self._plain(word)
        return made
