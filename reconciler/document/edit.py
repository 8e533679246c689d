"""A text that was edited, read without reading again what was not.

Somebody changes one cube of a thousand, or one row of a hundred thousand. If the edit lies within one entry of a list, only that
entry's lines are parsed, and the new document shares everything else with the old one, object by object. It is sound because
an entry of a block list begins at a line of its own and ends before the next entry's: nothing that stands before or after it
has a say in how it is read, but for anchors and document marks, and with those the whole text is read. In any other case, and
whatever is wrong, that is done too.
"""
from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from typing import Any

from reconciler.document import Document, Lists, Path
from reconciler.document.construct import read
from reconciler.errors import DocumentError

_BLOCK = 1 << 16
_OTHER_BREAKS = ("\r", "\x85", "\u2028", "\u2029")
_ELSEWHERE = re.compile(r"[&*]|^(?:---|\.\.\.|%)", re.MULTILINE)  # what may mean something to the text around it


def edited(old: Document, text: str) -> Document | None:
    """The document that `text` is, if it is `old`, the only one of its file, with one entry of a list changed; else None."""
    if old.text == text or any(mark in text or mark in old.text for mark in _OTHER_BREAKS):
        return None
    start, tail = _change(old.text, text)
    line = old.text.count("\n", 0, start)
    for path in sorted(old.lists, key=len, reverse=True):
        lines = old.lists[path]
        entry = bisect_right(lines, line) - 1
        if 0 <= entry < len(lines) - 1:
            begin, end = _lines_around(old.text, start, line - lines[entry], lines[entry + 1] - line)
            if len(old.text) - tail <= end:
                chunk = text[begin : len(text) - (len(old.text) - end)]
                return _with_entry(old, text, path, entry, old.text[begin:end], chunk)
    return None


def _change(old: str, new: str) -> tuple[int, int]:
    """How many characters at the start are the same, and how many at the end (not counting those again)."""
    shorter = min(len(old), len(new))
    start = 0
    while start < shorter and old[start : start + _BLOCK] == new[start : start + _BLOCK]:
        start = min(start + _BLOCK, shorter)
    while start < shorter and old[start] == new[start]:
        start += 1
    tail = 0
    while tail < shorter - start:
        step = min(_BLOCK, shorter - start - tail)
        if old[len(old) - tail - step : len(old) - tail] != new[len(new) - tail - step : len(new) - tail]:
            break
        tail += step
    while tail < shorter - start and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    return start, tail


def _lines_around(text: str, position: int, back: int, forth: int) -> tuple[int, int]:
    """Where the line begins that is so many before a position's own, and where the one that is so many after it."""
    begin = text.rfind("\n", 0, position) + 1
    for _ in range(back):
        begin = text.rfind("\n", 0, begin - 1) + 1
    end = position
    for _ in range(forth):
        end = text.find("\n", end) + 1
    return begin, end


def _with_entry(old: Document, text: str, path: Path, entry: int, was: str, now: str) -> Document | None:
    """`old` with the lines `was` of an entry exchanged for `now`: one other entry, or more, or none."""
    dash = re.match(r" *- ", was)
    if dash is None or (now and not now.startswith(dash[0])):
        return None
    before, after = _entries(was, old.file), _entries(now, old.file)
    if before is None or after is None or before[0] != [_at(old.data, path)[entry]]:
        return None
    entries, starts = after
    data = _replaced(old.data, path, entry, entries)
    return Document(old.file, text, data, lists=_moved(old.lists, path, entry, starts, now.count("\n") - was.count("\n")))


def _entries(chunk: str, file: str) -> tuple[list[Any], list[int]] | None:
    """The entries in some lines of a list, and at which of these lines each begins."""
    if not chunk:
        return [], []
    if not chunk.endswith("\n") or _ELSEWHERE.search(chunk):
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


def _replaced(data: Any, path: Path, entry: int, entries: list[Any]) -> Any:
    if not path:
        return [*data[:entry], *entries, *data[entry + 1 :]]
    copy = data.copy()
    copy[path[0]] = _replaced(data[path[0]], path[1:], entry, entries)
    return copy


def _moved(lists: Lists, path: Path, entry: int, starts: list[int], more: int) -> Lists:
    """Where the entries of the lists begin now. Of the lists in entries that have another place now, nothing is known."""
    found: dict[Path, array[int]] = {}
    last, depth = lists[path][entry], len(path)
    for other, lines in lists.items():
        if other[:depth] == path and len(other) > depth and (other[depth] == entry or len(starts) != 1):
            continue
        before = list(lines[: bisect_right(lines, last)])
        after = [line + more for line in lines[len(before) :]]
        if other == path:
            before[-1:] = [last + start for start in starts]
        found[other] = array("L", before + after)
    return found
