"""Syntax errors of YAML as understandable messages: libyaml's own refer to its internals."""
from __future__ import annotations

import re
from typing import Any

import yaml

from reconciler.document import LINE_BREAK
from reconciler.errors import Position, Problem

MAX_DEPTH = 64
TOO_DEEP = f"more than {MAX_DEPTH} levels of lists and mappings"

_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_WITH_COLONS = re.compile(r":[0-9a-fA-F:./]+")  # the start of an IPv6 address, such as ::/0
_INSTEAD = {
    "mapping values are not allowed in this context": (
        "a second ':' in one value, or a wrong indentation",
        "a value that contains ': ' needs quotes",
    ),
    "did not find expected key": ("expected a key, or the end of the mapping", "is the indentation right?"),
    "did not find expected '-' indicator": ("expected '-', or the end of the list", "is the indentation right?"),
    "did not find expected <document start>": ("expected the end of the document", "is the indentation right?"),
    "did not find expected node content": ("expected a value", ""),
    "could not find expected ':'": ("expected ':' after a key", ""),
    "found unexpected end of stream": ("the file ends inside quotes", ""),
    "found invalid Unicode character escape code": (
        "this escape is not a character", r"write a character outside of the BMP as it is, or as \UXXXXXXXX"),
}


def explain(error: yaml.YAMLError, text: str, file: str) -> Problem:
    """The problem that stopped the parser."""
    mark: Any = getattr(error, "problem_mark", None)
    if mark is None:
        return _unreadable_character(error, text, file)
    end = len(text.rstrip())
    where = position_at(text, end, file) if mark.index >= end else Position(file, mark.line + 1, mark.column + 1)
    said = str(getattr(error, "problem", "") or error)
    if said == "exceeded maximum nesting depth":  # libyaml reads ahead, and newer versions stop at 1,000 levels
        return Problem(TOO_DEEP, "", where)
    message, hint = _INSTEAD.get(said, (said, ""))
    if said == "did not find expected node content" and (word := _WITH_COLONS.match(text, mark.index)):
        message, hint = "a plain value in braces or brackets cannot start with ':'", f'quote it: "{word.group()}"'
    if said == "found character that cannot start any token":
        message, hint = _bad_start(text, mark)
    start: Any = getattr(error, "context_mark", None)
    context = str(getattr(error, "context", "") or "")
    related: tuple[tuple[Position, str], ...] = ()
    if start is not None and context and (start.line, start.column) != (mark.line, mark.column):
        related = ((Position(file, start.line + 1, start.column + 1), f"{context} that starts here"),)
    return Problem(f"not YAML: {message}", "", where, hint, related=related)


def position_at(text: str, offset: int, file: str) -> Position:
    """Line and column of a character, counted as libyaml counts them."""
    line, start = 1, 0
    for line_break in LINE_BREAK.finditer(text, 0, offset):
        line, start = line + 1, line_break.end()
    return Position(file, line, offset - start + 1)


def _bad_start(text: str, mark: Any) -> tuple[str, str]:
    character = text[mark.index : mark.index + 1]
    if character == "\t":
        return "a tab cannot indent YAML", "use spaces"
    return f"a plain value cannot start with '{character}'", "put it in quotes"


def _unreadable_character(error: yaml.YAMLError, text: str, file: str) -> Problem:
    """libyaml rejects control characters, with a position in bytes."""
    found = _UNPRINTABLE.search(text)
    if found is None:
        return Problem(f"not YAML: {error}", "", Position(file, 1, 1))
    code = ord(found.group())
    return Problem(f"the character U+{code:04X} is not allowed in YAML", "", position_at(text, found.start(), file),
                   'in quotes, write it as an escape: "\\x..", "\\u...."')
