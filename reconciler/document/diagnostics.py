"""Problems as text: position, path, message, the source line with a caret, and a hint.

    topology.yaml:12:27: /spec/cubes/br1/ports/p1/peer: no such port "veht1:p1"
      12 |         - {name: p1, peer: veht1:p1}
         |                            ^^^^^^^^
      hint: did you mean "veth1:p1"?
"""
from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence

from reconciler.document import LINE_BREAK
from reconciler.errors import Position, Problem

MAX_SHOWN = 20
WIDTH = 100
"""Columns of source line shown; a longer line is cut around the caret."""
Painter = Callable[[str, str], str]
_TAB = 4
_WORD = re.compile(r'"[^"]*"?|\'[^\']*\'?|[^\s,\[\]{}"\']+')
_RED, _YELLOW, _BLUE, _BOLD, _OFF = "\x1b[31m", "\x1b[33m", "\x1b[34m", "\x1b[1m", "\x1b[0m"


def render_all(problems: Sequence[Problem], sources: Mapping[str, str], colour: bool = False) -> str:
    """Up to 20 problems in order, then the number of further ones. `sources` is text by file name."""
    shown = problems[:MAX_SHOWN]
    files = {place.file for place in _places(shown)} & set(sources)
    lines = {file: LINE_BREAK.split(sources[file]) for file in files}
    parts = [_render(problem, lines, colour) for problem in shown]
    if len(problems) > len(shown):
        parts.append(f"and {len(problems) - len(shown)} more")
    return "\n".join(parts)


def render(problem: Problem, sources: Mapping[str, str], colour: bool = False) -> str:
    """One problem, as several lines without a final line feed."""
    return render_all([problem], sources, colour)


def escape(text: str) -> str:
    r"""Text without control sequences for a terminal: control and format characters are escaped as \x1b, \u202e."""
    return "".join(character if _harmless(character) else _escaped(character) for character in text)


def _render(problem: Problem, lines: Mapping[str, list[str]], colour: bool) -> str:
    paint = _coloured if colour else _plain
    tone = _YELLOW if problem.severity == "warning" else _RED
    where = paint(_BOLD, escape(str(problem.where))) if problem.where else ""
    kind = paint(tone, "warning") if problem.severity == "warning" else ""
    message = escape(problem.message)
    result = [": ".join(part for part in (where, kind, escape(problem.path), message) if part)]
    result += _excerpt(problem.where, lines, tone, paint)
    for place, note in problem.related:
        result.append(f"  {escape(str(place))}: {escape(note)}")
        result += _excerpt(place, lines, _BLUE, paint)
    if hint := str(problem.hint):
        result.append(f"  hint: {escape(hint)}")
    return "\n".join(result)


def _excerpt(where: Position | None, lines: Mapping[str, list[str]], tone: str, paint: Painter) -> list[str]:
    """The source line and the line with the caret; nothing if there is no such line."""
    text = lines.get(where.file) if where else None
    if where is None or text is None or not 1 <= where.line <= len(text):
        return []
    shown, offset, width = _window(text[where.line - 1], where.column - 1)
    if not shown.strip():
        return []
    number = str(where.line)
    caret = " " * offset + paint(tone, "^" * width)
    return [f"  {paint(_BLUE, number + ' |')} {shown}", f"  {paint(_BLUE, ' ' * len(number) + ' |')} {caret}"]


def _window(line: str, column: int) -> tuple[str, int, int]:
    """The part of a line to show, the caret's terminal column, and the width of the marked token."""
    column = min(column, len(line))
    word = _WORD.match(line, column)
    end = max(word.end() if word else 0, column + 1)
    near = slice(max(0, column - 4 * WIDTH), column), slice(column, min(end, column + 4 * WIDTH)), slice(end, end + 4 * WIDTH)
    before, marked, after = (_expand(line[part]) for part in near)
    marked = _cut_end(marked, WIDTH // 2)
    room = WIDTH - _width(marked)
    if _width(before) + _width(after) > room:
        before = _cut_start(before, max(room * 2 // 3, room - _width(after)))
        after = _cut_end(after, max(0, room - _width(before)))
    return (before + marked + after).rstrip(), _width(before), max(1, _width(marked))


def _cut_start(text: str, width: int) -> str:
    if _width(text) <= width:
        return text
    text = text[-width:]
    while _width(text) > width - 1:
        text = text[1:]
    return "…" + text


def _cut_end(text: str, width: int) -> str:
    if _width(text) <= width:
        return text
    text = text[:width]
    while _width(text) > width - 1:
        text = text[:-1]
    return text + "…"


def _expand(text: str) -> str:
    """Tabs as spaces, control characters escaped: the text as the terminal shows it."""
    return escape(text.replace("\t", " " * _TAB))


def _width(text: str) -> int:
    """Terminal columns: Chinese characters and most emoji take two, combining marks none."""
    return len(text) if text.isascii() else sum(_cell(character) for character in text)


def _cell(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _harmless(character: str) -> bool:
    return " " <= character <= "~" or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def _escaped(character: str) -> str:
    code = ord(character)
    if character in "\n\r\t":
        return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}[character]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _plain(_: str, text: str) -> str:
    return text


def _coloured(tone: str, text: str) -> str:
    return f"{tone}{text}{_OFF}"


def _places(problems: Sequence[Problem]) -> Iterator[Position]:
    for problem in problems:
        if problem.where:
            yield problem.where
        yield from (place for place, _ in problem.related)

