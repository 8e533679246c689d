"""Documents as the kernel stores them: parsing, writing, and equality."""

from __future__ import annotations

import json
import weakref
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from reconciler.incremental.entry_memo import EntryMemo
from reconciler.incremental.memo import Interned
from reconciler.incremental.sharing import is_same, share


class StoredDocument:
    """A document as the kernel stores it: `text`, and its `data`. It is immutable, and derived values are memoised on it
    (`incremental.derived`). Equal texts are one object while it is referenced (`stored`)."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._compared: tuple[weakref.ref[StoredDocument], bool] | None = None
        self.texts: EntryMemo[str] | None = None  # of the entries of its long lists, with those documents that it was edited from

    @cached_property
    def data(self) -> Any:
        """The text decoded, with the objects of a document of the same name wherever they are equal, if one is alive: what
        follows from them is remembered by them. Raises ValueError."""
        said = json.loads(self.text)
        known = _named_as(said, self) if len(self.text) >= _LONG else None
        return said if known is None else share(known.data, said)

    def says_the_same_as(self, other: StoredDocument) -> bool:
        """Whether they differ only in the order of unordered lists. Memoised for the last comparison."""
        if other is self or other.text == self.text:
            return True
        if self._compared is None or self._compared[0]() is not other:
            self._compared = weakref.ref(other), _same(self.data, other.data)
        return self._compared[1]


stored: Interned[str, StoredDocument] = Interned(StoredDocument)
_LONG = 1 << 16  # characters of a text that is worth it
_MANY = 512  # entries of a list; fewer are soon written


def _named_as(said: Any, document: StoredDocument) -> StoredDocument | None:
    """The latest document that is decoded, and of a topology of this name."""
    others = (other for other in reversed(stored.alive()) if other is not document and len(other.text) >= _LONG)
    return next((other for other in others if "data" in other.__dict__ and _name(other.data) == _name(said)), None)


def _name(data: Any) -> Any:
    metadata = data.get("metadata") if isinstance(data, dict) else None
    return metadata.get("name") if isinstance(metadata, dict) else None


def document_data(document: str) -> Any:
    """The data of a stored document, which must not be changed. Raises ValueError."""
    return stored(document).data


def is_topology(document: StoredDocument) -> bool:
    """Whether a stored document has the outer form of a topology, so that its cubes can be read."""
    try:
        data = document.data
    except ValueError:
        return False
    spec = data.get("spec") if isinstance(data, dict) else None
    cubes = spec.get("cubes", []) if isinstance(spec, dict) else None
    if not isinstance(cubes, list) or not all(isinstance(cube, dict) for cube in cubes):
        return False
    return all(isinstance(cube.get(leaf), str) for cube in cubes for leaf in ("name", "service-name"))


def text_of(data: Any) -> str:
    """The inverse of `document_data`."""
    return stored_of(data).text


def stored_of(data: Any) -> StoredDocument:
    """A document as the kernel would store it. It has this very data, which shares with that of later edits. If a document of
    this name is referenced, only the entries of long lists that are not in that one are serialised."""
    writer = _Writer(_name(data))
    made = stored(writer.text(data))
    made.__dict__["data"], made.texts = data, writer.texts
    return made


@dataclass(slots=True)
class _Writer:
    """Of the document of this name. `texts` is the memo of the one before; None as long as no list is long enough for it."""

    name: Any
    texts: EntryMemo[str] | None = None

    def text(self, data: Any) -> str:
        return "".join(self._parts(data))

    def _parts(self, data: Any) -> Iterator[str]:
        """They are joined once: each copy of a long text takes a millisecond."""
        if data.__class__ is dict:
            opened = "{"
            for name, value in data.items():
                yield f"{opened}{_short(name)}:"
                yield from self._parts(value)
                opened = ","
            yield "}" if data else "{}"
        elif isinstance(data, list) and len(data) >= _MANY:
            yield "["
            yield ",".join(self._memo().each(data, lambda _, entry: _short(entry)))
            yield "]"
        elif isinstance(data, list):
            opened = "["
            for entry in data:
                yield opened
                yield from self._parts(entry)
                opened = ","
            yield "]" if data else "[]"
        else:
            yield _short(data)

    def _memo(self) -> EntryMemo[str]:
        if self.texts is None:
            written = (other for other in reversed(stored.alive()) if other.texts is not None)
            self.texts = next((other.texts for other in written if _name(other.data) == self.name), None) or EntryMemo()
        return self.texts


_short = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def documents_equal(document: str, other: str) -> bool:
    """Whether two documents differ in nothing but the order of what has none."""
    return document == other or stored(document).says_the_same_as(stored(other))


def _same(one: Any, other: Any) -> bool:
    """Lists of objects are sets (YANG's ordered-by system); lists of scalars may be ordered and are compared in order.

    Equal entries at the same index are skipped first, so that only the rest is compared in every order.
    """
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(
            sorted(value) == sorted(other[name]) if name == "namespaces" else _same(value, other[name])
            for name, value in one.items()
        )
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and _same_entries(list(_pairs_that_differ(one, other)))
    return type(one) is type(other) and bool(one == other)


def _pairs_that_differ(one: list[Any], other: list[Any]) -> Iterator[tuple[Any, Any]]:
    """Entries at the same place. Most are the very same object. To Python `true` and 1 are equal, and here they are not."""
    return ((ours, theirs) for ours, theirs in zip(one, other, strict=True) if ours is not theirs and not is_same(ours, theirs))


def _same_entries(pairs: list[tuple[Any, Any]]) -> bool:
    """Whether the first ones of these pairs, which are not equal, are in some order the second ones."""
    if not all(isinstance(entry, dict) for pair in pairs for entry in pair):
        return False
    pairs = [pair for pair in pairs if not _same(*pair)]
    names = Counter(name for _, theirs in pairs if isinstance(name := theirs.get("name"), str))
    if any(names[ours["name"]] == 1 and ours["name"] == theirs.get("name") for ours, theirs in pairs if "name" in ours):
        return False  # no other one has this name
    return len(pairs) != 1 and Counter(_frozen(ours) for ours, _ in pairs) == Counter(_frozen(theirs) for _, theirs in pairs)


def _frozen(data: Any) -> Any:
    """Equal for data that states the same, and can be counted."""
    if isinstance(data, dict):
        return frozenset((name, tuple(sorted(value)) if name == "namespaces" else _frozen(value)) for name, value in data.items())
    if isinstance(data, list):
        entries = [_frozen(entry) for entry in data]
        return frozenset(Counter(entries).items()) if all(isinstance(entry, dict) for entry in data) else tuple(entries)
    return data.__class__, data
