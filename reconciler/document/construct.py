"""Parses YAML text to plain data, by the rules of YAML 1.2 and with limits against hostile text.

PyYAML's own constructor follows YAML 1.1, where ON is true and 52:54:00:12:34:56 is a number, keeps the last of two equal
keys, and expands ten lines of aliases to gigabytes. This one consumes the parser's events as a stream, so that depth and
size are bounded while reading; it is also faster than a tree of nodes, and needs a fifth of the memory.
"""
from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import yaml
from yaml.cyaml import CParser  # type: ignore[attr-defined]  # it is libyaml's parser without a composer

from reconciler.document import Path, collector_paused
from reconciler.document.line_index import LineIndex
from reconciler.document.paths import display
from reconciler.document.plain_entries import Entries, taken_out
from reconciler.document.syntax import MAX_DEPTH, TOO_DEEP, explain
from reconciler.errors import DocumentError, Position, Problem

Mark: TypeAlias = Any
"""libyaml's mark: line and column, from 0. Its events are Any too, since PyYAML's types are incomplete."""

MAX_VALUES = 12_000_000
"""Limit of keys, scalars, lists and mappings in a file, with aliases expanded. A rule of 8 leaves has 17, a route of two 5."""
MAX_REPEATED = 2_500_000
"""Limit of those that aliases repeat, which are many values for little text."""

_NUMBER = re.compile(
    r"(?P<decimal>[-+]?(?:0|[1-9][0-9]*))|0x(?P<hex>[0-9a-fA-F]+)|0o(?P<octal>[0-7]+)"
    r"|(?P<float>[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?)"
)
_WORDS: dict[str, Any] = {"": None, "~": None} | {
    spelling: value
    for word, value in (("null", None), ("true", True), ("false", False))
    for spelling in (word, word.capitalize(), word.upper())
}
_LONGEST_NUMBER = 100
LONG = 8  # entries of a list whose lines are recorded
_TEXT_TAGS = ("!", "tag:yaml.org,2002:str")
_CORE_TAG = "tag:yaml.org,2002:"


def plain(text: str) -> Any:
    """The value of a plain scalar in YAML 1.2 (core schema): null, a boolean, a number, or text.

    0123 stays text: it was octal in YAML 1.1 and is 123 in 1.2, so the author should be explicit.
    """
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "0123456789+-." or len(text) > _LONGEST_NUMBER:
        return text
    number = _NUMBER.fullmatch(text)
    if number is None:
        return text
    if number["decimal"]:
        return int(text)
    if number["float"]:
        return float(text)
    return int(number["hex"], 16) if number["hex"] else int(number["octal"], 8)


def construct(text: str, file: str) -> list[Any]:
    """The documents in a text, as plain data; an empty document is None. Raises DocumentError with all problems."""
    return read(text, file)[0]


def read(text: str, file: str, *, shortest: int = LONG) -> tuple[list[Any], list[dict[Path, LineIndex]]]:
    """As `construct`, and for each document the lines (from 0) of the entries of lists that have at least `shortest` entries."""
    rest, entries = taken_out(text, plain)
    if entries and (found := _read_around(rest, entries, file, shortest)) is not None:
        return found
    builder = _Builder(text, file, shortest)
    documents: list[Any] = []
    stop: Problem | None = None
    try:
        with collector_paused():
            documents.extend(builder.documents())
    except yaml.YAMLError as error:
        stop = explain(error, text, file)
    except _TooMuch as error:
        stop = builder.problem(error.fault, None)
    problems = [builder.problem(fault, documents[fault.document] if fault.document < len(documents) else None)
                for fault in builder.faults]
    if problems or stop:
        raise DocumentError(problems + ([stop] if stop else []))
    return documents, builder.lists


def _read_around(
    rest: str, entries: dict[int, Entries], file: str, shortest: int
) -> tuple[list[Any], list[dict[Path, LineIndex]]] | None:
    """As `read`, of a text without `entries`, which are inserted; None after any error, or if no list is at their lines."""
    builder = _Builder(rest, file, shortest, entries)
    try:
        with collector_paused():
            documents = list(builder.documents())
    except (yaml.YAMLError, _TooMuch):
        return None
    return None if builder.faults or builder.entries else (documents, builder.lists)


@dataclass(frozen=True, slots=True)
class _Anchor:
    value: Any
    size: int  # values in it, aliases expanded
    height: int  # levels in it


@dataclass(frozen=True, slots=True)
class _Fault:
    document: int
    path: Path
    message: str
    mark: Mark
    hint: str = ""
    earlier: Mark | None = None


class _TooMuch(Exception):
    """A limit of size or depth is exceeded, and parsing stops."""

    def __init__(self, fault: _Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class _Builder:
    """Constructs values from events, and collects the faults after which parsing can continue."""

    def __init__(self, text: str, file: str, shortest: int, entries: Mapping[int, Entries] | None = None) -> None:
        self.file, self.shortest = file, shortest
        self.entries = dict(entries or {})  # removed from the text, and not inserted yet
        self.lists: list[dict[Path, LineIndex]] = []
        self.next_event: Callable[[], Any] = CParser(text).get_event
        self.faults: list[_Fault] = []
        self.document = 0
        self.anchors: dict[str, _Anchor] = {}
        self.size = self.repeated = 0
        self.deepest = 0  # level of the deepest value since the last anchor began

    def documents(self) -> Iterator[Any]:
        while not isinstance(event := self.next_event(), yaml.StreamEndEvent):
            if isinstance(event, yaml.DocumentStartEvent):
                self.anchors = {}
                self.lists.append({})
                yield self.value(self.next_event(), (), 0)
                self.document += 1

    def value(self, event: Any, path: Path, depth: int) -> Any:
        """The value that starts with this event; consumes the events up to its end."""
        self.size += 1
        self.check_size(event, path)
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event, path, depth)
        if event.anchor is None:
            return self.content(event, path, depth)
        size, deepest, self.deepest = self.size - 1, self.deepest, depth
        value = self.content(event, path, depth)
        self.anchors[event.anchor] = _Anchor(value, self.size - size, self.deepest - depth)
        self.deepest = max(deepest, self.deepest)
        return value

    def alias(self, event: Any, path: Path, depth: int) -> Any:
        anchor = self.anchors.get(event.anchor)
        if anchor is None:
            self.fault(path, f"the alias *{event.anchor} has no anchor &{event.anchor} before it", event.start_mark)
            return None
        self.size += anchor.size - 1
        self.repeated += anchor.size
        self.check_size(event, path)
        self.check_depth(event, depth + anchor.height)
        return anchor.value

    def content(self, event: Any, path: Path, depth: int) -> Any:
        if isinstance(event, yaml.ScalarEvent):
            return self.scalar(event, path)
        if event.tag is not None:
            self.fault(path, f"the tag {_tag(event.tag)} is not accepted", event.start_mark, hint="leave it out")
        self.check_depth(event, depth + 1)
        read = self.mapping if isinstance(event, yaml.MappingStartEvent) else self.sequence
        return read(path, depth + 1)

    def scalar(self, event: Any, path: Path) -> Any:
        if event.tag is None:
            return plain(event.value) if event.implicit[0] else event.value
        if event.tag not in _TEXT_TAGS:
            hint = "leave it out; quotes make text of a value"
            self.fault(path, f"the tag {_tag(event.tag)} is not accepted", event.start_mark, hint)
        return event.value

    def sequence(self, path: Path, depth: int) -> list[Any]:
        result: list[Any] = []
        lines: list[int] = []
        while not isinstance(event := self.next_event(), yaml.SequenceEndEvent):
            lines.append(event.start_mark.line)
            if isinstance(event, yaml.ScalarEvent) and event.anchor is None and event.tag is None and self.size < MAX_VALUES:
                self.size += 1  # inlined: lists of addresses can be very long
                result.append(plain(event.value) if event.implicit[0] else event.value)
            else:
                result.append(self.value(event, (*path, len(result)), depth))
            if (more := self.entries.pop(lines[-1], None)) is not None:
                lines += range(lines[-1] + 1, lines[-1] + 1 + len(more.values))
                result += more.values
                self.size += more.size
                self.check_size(event, path)
        if len(lines) >= self.shortest:
            self.lists[-1][path] = LineIndex(lines)
        return result

    def mapping(self, path: Path, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        marks: dict[str, Mark] = {}
        while not isinstance(event := self.next_event(), yaml.MappingEndEvent):
            self.size += 1
            key, start = self.key(event, path, depth), event.start_mark
            event = self.next_event()
            if isinstance(event, yaml.ScalarEvent) and event.anchor is None and event.tag is None:
                self.size += 1  # inlined: nearly every value is a scalar
                value = plain(event.value) if event.implicit[0] else event.value
            else:
                value = self.value(event, (*path, key), depth)
            if key in marks:
                self.fault((*path, key), f'duplicate key "{_short(key)}"', start, earlier=marks[key])
            else:
                result[key], marks[key] = value, start
        return result

    def key(self, event: Any, path: Path, depth: int) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            self.fault(path, "a key must be plain text, not a list, a mapping or an alias", event.start_mark)
            self.value(event, path, depth)
            return f"key at {event.start_mark.line}:{event.start_mark.column}"
        if event.value == "<<" and event.implicit[0]:
            hint = "write the keys out, or use an alias as a whole value"
            self.fault((*path, "<<"), "merge keys (<<) are not part of YAML 1.2", event.start_mark, hint)
        return str(event.value)

    def check_size(self, event: Any, path: Path) -> None:
        if self.size > MAX_VALUES or self.repeated > MAX_REPEATED:
            message = f"the file has more than {MAX_VALUES:,} values, counting what aliases repeat"
            if self.size <= MAX_VALUES:
                message = f"aliases repeat more than {MAX_REPEATED:,} values"
            hint = "split it in several files and apply them together"
            raise _TooMuch(_Fault(self.document, path, message, event.start_mark, hint))

    def check_depth(self, event: Any, depth: int) -> None:
        self.deepest = max(self.deepest, depth)
        if depth > MAX_DEPTH:
            message = TOO_DEEP
            raise _TooMuch(_Fault(self.document, (), message, event.start_mark))

    def fault(self, path: Path, message: str, mark: Mark, hint: str = "", earlier: Mark | None = None) -> None:
        self.faults.append(_Fault(self.document, path, message, mark, hint, earlier))

    def problem(self, fault: _Fault, data: Any) -> Problem:
        related = ((self.position(fault.earlier), "the first one is here"),) if fault.earlier else ()
        where = self.position(fault.mark)
        return Problem(fault.message, display(fault.path, data), where, fault.hint, related=related)

    def position(self, mark: Mark) -> Position:
        return Position(self.file, mark.line + 1, mark.column + 1)


def _short(text: str, limit: int = 80) -> str:
    return text if len(text) <= limit else text[:limit] + "…"


def _tag(tag: str) -> str:
    return _short("!!" + tag.removeprefix(_CORE_TAG) if tag.startswith(_CORE_TAG) else tag)
