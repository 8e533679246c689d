"""Incremental parsing of an edited text.

Typical edits change one cube of a thousand, or one row of a hundred thousand. If the edit is within one entry of a list, only
that entry's lines are parsed, and the new document shares all other objects with the old one. This is sound because
an entry of a block list begins at a line of its own and ends before the next entry's: its context does not affect
how it is parsed, except anchors, aliases and document markers. With these, in all other cases, and after any error, the entire
text is parsed.
"""
from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable
from typing import Any

from reconciler.document import ELSEWHERE, Document, Lists, Path
from reconciler.document.construct import LONG, read
from reconciler.document.line_index import LineIndex
from reconciler.document.plain_entries import OTHER_BREAKS
from reconciler.errors import DocumentError
from reconciler.incremental.persistent_list import splice

_BLOCK = 1 << 16
_MOST = 64  # entries that are parsed at most


def reparse(old: Document, text: str) -> Document | None:
    """The document of `text`, if it differs from `old`, the only one of its file, only in consecutive entries of one list; else
    None: the caller parses the entire text."""
    if old.text == text or any(mark in text or mark in old.text for mark in OTHER_BREAKS):
        return None
    start, tail = _change(old.text, text)
    line = old.text.count("\n", 0, start)
    last = line + old.text.count("\n", start, len(old.text) - tail)
    for path in sorted(old.lists, key=len, reverse=True):
        lines = old.lists[path]
        first, after = lines.until(line) - 1, lines.until(last)
        if first < 0 or after - first > _MOST:
            continue
        begin, end = _lines_around(old.text, start, line - lines[first], lines[after] - line if after < len(lines) else 0)
        if after == len(lines):
            end = _end_of_list(old.text, begin)
        if len(old.text) - tail <= end:
            chunk = text[begin : len(text) - (len(old.text) - end)]
            return _with_entries(old, text, path, (first, after), old.text[begin:end], chunk)
    return None


def _end_of_list(text: str, begin: int) -> int:
    """The offset of the first line after a list with an entry at `begin`: neither blank nor a comment, indented no further than
    the entry's dash, and no entry itself. The text's length if there is none."""
    dash = re.compile(r" *- ").match(text, begin)
    if dash is None:
        return len(text)
    column = dash.end() - begin - 2
    after = re.compile(rf"^(?! {{{column}}}- ) {{0,{column}}}(?![ \n#])", re.MULTILINE).search(text, begin + 1)
    return after.start() if after else len(text)


def _change(old: str, new: str) -> tuple[int, int]:
    """The number of equal characters, in complete lines, at the start and at the end (without overlap)."""
    shorter = min(len(old), len(new))
    start = _alike(shorter, lambda there, end: old[there:end] == new[there:end])
    start = old.rfind("\n", 0, start) + 1
    was, now = len(old), len(new)
    return start, _alike(shorter - start, lambda there, end: old[was - end : was - there] == new[now - end : now - there])


def _alike(most: int, same: Callable[[int, int], bool]) -> int:
    """The first offset at which two texts differ, or `most`. `same` compares them between two offsets."""
    begin = 0
    while begin < most and same(begin, min(begin + _BLOCK, most)):
        begin = min(begin + _BLOCK, most)
    block = range(begin + 1, min(begin + _BLOCK, most) + 1)
    return begin + bisect_left(block, True, key=lambda end: not same(begin, end))


def _lines_around(text: str, position: int, back: int, forth: int) -> tuple[int, int]:
    """The offsets of the line `back` lines before that of a position, and of the line `forth` lines after it."""
    begin = text.rfind("\n", 0, position) + 1
    for _ in range(back):
        begin = text.rfind("\n", 0, begin - 1) + 1
    end = position
    for _ in range(forth):
        end = text.find("\n", end) + 1
    return begin, end


def _with_entries(old: Document, text: str, path: Path, places: tuple[int, int], was: str, now: str) -> Document | None:
    """`old` with the entries at `places`, (first, end), and lines `was` replaced by those in `now`, if any. None if these lines
    cannot be parsed alone."""
    dash = re.match(r" *- ", was)
    if dash is None or (now and not now.startswith(dash[0])):
        return None
    first, end = places
    before, after = _entries(was, old.file), _entries(now, old.file)
    if before is None or after is None or before[0] != _at(old.data, path)[first:end]:
        return None
    entries, starts = after
    data = _replaced(old.data, path, places, entries)
    return Document(old.file, text, data, lists=_moved(old.lists, path, places, starts, now.count("\n") - was.count("\n")))


def _entries(chunk: str, file: str) -> tuple[list[Any], list[int]] | None:
    """The entries in some lines of a list, and the line of each, from 0; None if these lines cannot be parsed alone."""
    if not chunk:
        return [], []
    if not chunk.endswith("\n") or ELSEWHERE.search(chunk):
        return None
    try:
        documents, lists = read(chunk, file, shortest=1)
    except DocumentError:
        return None
    return (documents[0], list(lists[0].get((), ()))) if len(documents) == 1 and isinstance(documents[0], list) else None


def _at(data: Any, path: Path) -> Any:
    for step in path:
        data = data[step]
    return data


def _replaced(data: Any, path: Path, places: tuple[int, int], entries: list[Any]) -> Any:
    if not path:
        return splice(data, places[0], entries, len(data) - places[1])
    copy = data.copy()
    copy[path[0]] = _replaced(data[path[0]], path[1:], places, entries)
    return copy


def _moved(lists: Lists, path: Path, places: tuple[int, int], starts: list[int], more: int) -> Lists:
    """The new first lines of the lists' entries. Lists in changed entries are dropped, or in all if their number
    changes."""
    found: dict[Path, LineIndex] = {}
    (first, end), depth = places, len(path)
    begin, last = lists[path][first], lists[path][end - 1]
    lines = [begin + start for start in starts]
    others = range(first, end) if len(starts) == end - first else None  # entries whose lists are dropped; None: all
    for other, known in lists.items():
        if other[:depth] == path and len(other) > depth and (others is None or other[depth] in others):
            continue
        after = known.until(last)
        found[other] = known.spliced(first, end, lines, more) if other == path else known.spliced(after, after, (), more)
    return {other: known for other, known in found.items() if len(known) >= LONG}
