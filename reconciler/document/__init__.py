"""A document: plain data as written, with source positions on demand.

Positions are needed for diagnostics only, and storing one for each of 10,000 rules costs more than the data. So a document keeps
its text, and parses it a second time, into a tree of nodes with positions, at the first request. For a path into a long list
only the entry's lines are parsed, since there is often a single warning.
"""
from __future__ import annotations

import gc
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count, islice
from typing import Any

from reconciler.document.line_index import LineIndex
from reconciler.errors import Position

Path = tuple[str | int, ...]
"""Keys of mappings and indices of lists, the outermost first."""

Lists = Mapping[Path, LineIndex]

LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
"""The line breaks of libyaml."""

ELSEWHERE = re.compile(r"[&*]|^(?:---|\.\.\.|%)", re.MULTILINE)
"""Possible anchors, aliases, document markers and directives: text with these is not parsed without its context."""

_DASH = re.compile(r" *- ")
_FEW = 64  # positions found by parsing single entries; for more, the tree of the entire text is cheaper


@dataclass(frozen=True, eq=False)
class Document:
    """One YAML or JSON document. `index` counts the documents of a file from 0.

    `places` is for a document that was built from others (a list of cubes turned into a topology, a merge): the document
    and path of origin, of a path and of all paths below it that are not listed themselves.

    `lists` has the lines (from 0) at which the entries of its long lists begin, for `document.incremental_parse` and for
    positions.
    """

    file: str
    text: str = field(repr=False)
    data: Any = field(repr=False)
    index: int = 0
    places: Mapping[Path, tuple[Document, Path]] = field(default_factory=dict, repr=False)
    lists: Lists = field(default_factory=dict, repr=False)

    def position(self, path: Path, *, key: bool = False) -> Position:
        """The position of the value at `path`, or of its key. For a missing path: of its nearest ancestor."""
        document, path = self.origin(path)
        found_key, value, missing, above = document._find(path)
        node = found_key if key and found_key is not None and not missing else value
        mark = getattr(node, "start_mark", None)
        return Position(document.file, above + mark.line + 1, mark.column + 1) if mark else Position(document.file, 1, 1)

    def line_of(self, path: Path, number: int) -> Position:
        """The position of line `number` of the text at `path`. If the text's lines are not the file's: of its start."""
        document, path = self.origin(path)
        _, node, missing, above = document._find(path)
        start, style = getattr(node, "start_mark", None), getattr(node, "style", None)
        if missing or start is None or style != "|":
            return self.position(path)
        return Position(document.file, above + start.line + 1 + number, 1)

    def source_text(self, path: Path) -> str | None:
        """The scalar at `path` as it is written (`1.10`, `0x1F`), without quotes; None if there is no scalar."""
        document, path = self.origin(path)
        _, node, missing, _ = document._find(path)
        value = getattr(node, "value", None)
        return value if isinstance(value, str) and not missing else None

    def origin(self, path: Path) -> tuple[Document, Path]:
        """The document as parsed from a file, and the path in it, of a path in this one."""
        if not self.places:
            return self, path
        for length in range(len(path), -1, -1):
            if path[:length] in self.places:
                document, start = self.places[path[:length]]
                return document.origin(start + path[length:])
        return self, path

    def _find(self, path: Path) -> tuple[Any, Any, bool, int]:
        """The key's node (None in a list), the value's node, whether the path ended early, and the number of lines before those
        that were parsed for it."""
        above, key, node, rest = 0, None, None, path
        if "_root" not in self.__dict__ and next(self._questions) < _FEW:
            above, node, rest = self._entry_of(path)
        if node is None:
            above, node, rest = 0, self._root, path
        for step in rest:
            found = _child(node, step)
            if found is None:
                return key, node, True, above
            key, node = found
        return key, node, False, above

    def _entry_of(self, path: Path) -> tuple[int, Any, Path]:
        """The number of lines before the innermost entry of a long list on the path, its node, and the rest of the path; no node
        if it cannot be parsed alone. An entry is complete if the next one has its dash in the same column."""
        for depth in range(len(path) - 1, -1, -1):
            lines, place = self.lists.get(path[:depth]), path[depth]
            if lines is None or not isinstance(place, int) or place + 1 >= len(lines):
                continue
            start, end = (self._starts[lines[at]] for at in (place, place + 1))
            chunk = self.text[start:end]
            dash, other = _DASH.match(chunk), _DASH.match(self.text, end)
            if dash is None or other is None or dash.end() != other.end() - end or ELSEWHERE.search(chunk):
                break
            entries = _entries(chunk)
            return (lines[place], entries[0], path[depth + 1 :]) if len(entries) == 1 else (0, None, path)
        return 0, None, path

    @cached_property
    def _questions(self) -> Iterator[int]:
        return count()

    @cached_property
    def _starts(self) -> list[int]:
        """The offset of each line."""
        return [0, *(found.end() for found in LINE_BREAK.finditer(self.text))]

    @cached_property
    def _root(self) -> Any:
        """The node tree of this document. It is safe to build: the loader has bounded its depth and size."""
        return _compose(self.text, self.index)


@contextmanager
def collector_paused() -> Iterator[None]:
    """For work that creates very many objects without cycles: the garbage collector's traversals double its time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _compose(text: str, index: int) -> Any:
    import yaml

    # Without resolvers no tags are resolved: they are not needed, and take half of the time.
    loader = type("Loader", (yaml.CSafeLoader,), {"yaml_implicit_resolvers": {}})
    with collector_paused():
        return next(islice(yaml.compose_all(text, Loader=loader), index, None), None)


def _entries(chunk: str) -> list[Any]:
    """The nodes of the entries in some lines of a list; none if the lines cannot be parsed without their context."""
    import yaml

    try:
        found = _compose(chunk, 0)
    except yaml.YAMLError:
        return []
    return list(found.value) if found is not None and found.id == "sequence" else []


def _child(node: Any, step: str | int) -> tuple[Any, Any] | None:
    children = getattr(node, "value", None)
    if not isinstance(children, list):
        return None
    if isinstance(step, int):
        inside = step < len(children) and node.id == "sequence"
        return (None, children[step]) if inside else None
    if node.id != "mapping":
        return None
    if not hasattr(node, "by_key"):  # cached on the node, instead of a linear search among 100,000 keys
        node.by_key = {key.value: (key, value) for key, value in reversed(children) if isinstance(key.value, str)}
    found: tuple[Any, Any] | None = node.by_key.get(step)
    return found
