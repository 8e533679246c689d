"""A document: plain data as somebody wrote it, which can still say where each part of it stands.

Positions are wanted only when something is wrong, and keeping one for each of 10,000 rules costs more than the data.
So a document keeps its text, and reads it a second time, as a tree of nodes with positions, when it is first asked.
"""
from __future__ import annotations

import gc
import re
from array import array
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any

from reconciler.errors import Position

Path = tuple[str | int, ...]
"""A way into a document: keys of mappings and indices of lists, from the outside in."""

Lists = Mapping[Path, "array[int]"]

LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
"""What libyaml counts as the end of a line."""


@dataclass(frozen=True, eq=False)
class Document:
    """One YAML or JSON document. `index` counts the documents of a file from 0.

    `places` is for a document that was made from others (a list of cubes turned into a topology, a merge): it says
    for a path, and for all paths below it that are not listed themselves, which document and path it came from.

    `lists` has the lines (from 0) at which the entries of its long lists begin, for `document.edit`.
    """

    file: str
    text: str = field(repr=False)
    data: Any = field(repr=False)
    index: int = 0
    places: Mapping[Path, tuple[Document, Path]] = field(default_factory=dict, repr=False)
    lists: Lists = field(default_factory=dict, repr=False)

    def position(self, path: Path, *, key: bool = False) -> Position:
        """Where the value at `path` starts, or its key. A path that is not there gives the nearest thing around it."""
        document, path = self.origin(path)
        found_key, value, missing = document._find(path)
        node = found_key if key and found_key is not None and not missing else value
        mark = getattr(node, "start_mark", None)
        return Position(document.file, mark.line + 1, mark.column + 1) if mark else Position(document.file, 1, 1)

    def source_text(self, path: Path) -> str | None:
        """The scalar at `path` as it is written (`1.10`, `0x1F`), without quotes; None if there is no scalar."""
        document, path = self.origin(path)
        _, node, missing = document._find(path)
        value = getattr(node, "value", None)
        return value if isinstance(value, str) and not missing else None

    def origin(self, path: Path) -> tuple[Document, Path]:
        """The document that was read from a file, and the path there, for a path of this one."""
        if not self.places:
            return self, path
        for length in range(len(path), -1, -1):
            if path[:length] in self.places:
                document, start = self.places[path[:length]]
                return document.origin(start + path[length:])
        return self, path

    def _find(self, path: Path) -> tuple[Any, Any, bool]:
        """The key's node (None in a list), the value's node, and whether the way there ended too early."""
        key, node = None, self._root
        for step in path:
            found = _child(node, step)
            if found is None:
                return key, node, True
            key, node = found
        return key, node, False

    @cached_property
    def _root(self) -> Any:
        """The node tree of this document. It is safe to build: the loader has bounded its depth and size."""
        import yaml

        # Without resolvers there are no tags, which nobody here needs, and which cost half of the time.
        loader = type("Loader", (yaml.CSafeLoader,), {"yaml_implicit_resolvers": {}})
        with collector_paused():
            return next(islice(yaml.compose_all(self.text, Loader=loader), self.index, None), None)


@contextmanager
def collector_paused() -> Iterator[None]:
    """For work that makes very many objects and no cycles: looking at them again and again doubles its time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _child(node: Any, step: str | int) -> tuple[Any, Any] | None:
    children = getattr(node, "value", None)
    if not isinstance(children, list):
        return None
    if isinstance(step, int):
        inside = step < len(children) and node.id == "sequence"
        return (None, children[step]) if inside else None
    pairs = children if node.id == "mapping" else ()
    return next(((key, value) for key, value in pairs if key.value == step), None)
