"""A lexer for C.

Why not regular expressions on the text: `pcn_log(ctx, LOG_INFO, "%d) /* not a comment")` and a table declared in a
comment must both be recognised, and a rewrite must preserve line numbers. It is no preprocessor: it recognises comments,
strings, continued lines and directives, and evaluates nothing.
"""
from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_TOKEN = re.compile(r"""
    (?P<comment> //(?:\\\n|[^\n])* | /\*.*?\*/ )
  | (?P<string> "(?:\\.|[^"\\\n])*" )
  | (?P<char>   '(?:\\.|[^'\\\n])*' )
  | (?P<name>   [A-Za-z_]\w* )
  | (?P<number> \.?\d(?:[eEpP][+-]|[\w.])* )
  | (?P<splice> \\\n )
  | (?P<newline> \n )
  | (?P<space>  [ \t\f\v]+ )
  | (?P<mark>   . )
""", re.VERBOSE | re.DOTALL)

_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]+|[0-7]{1,3}|\n|.)", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "\n": ""}


class Token(NamedTuple):
    """`kind` is string, char, name, number or mark; `start` and `end` index the text, `line` counts from 1.
    `directive` is the name of the directive ('define', 'include') that the token is part of, or ''."""

    kind: str
    text: str
    start: int
    end: int
    line: int
    directive: str


def tokenize(text: str) -> tuple[list[Token], set[int]]:
    """The tokens of a file, and the lines that begin inside something (a comment, a continued line, parentheses).

    No directive may be inserted before such a line.
    """
    found: list[Token] = []
    inside: set[int] = set()
    line, depth, directive, fresh = 1, 0, "", True
    for match in _TOKEN.finditer(text):
        kind, piece = match.lastgroup or "mark", match.group()
        if kind == "newline":
            line, directive, fresh = line + 1, "", True
            if depth > 0:
                inside.add(line)
            continue
        if kind in ("comment", "splice", "space"):
            crossed = piece.count("\n")
            inside.update(range(line + 1, line + crossed + 1))
            line += crossed
            continue
        if fresh and piece == "#":
            directive = "#"
        elif directive == "#" and kind == "name":
            directive = piece
        elif not directive:
            depth = max(0, depth + (piece == "(") - (piece == ")"))
        fresh = False
        found.append(Token(kind, piece, match.start(), match.end(), line, directive))
        line += piece.count("\n")  # a string continued by a backslash
    return found, inside


class Call(NamedTuple):
    """A use of a function-like macro: the tokens of its name, of each argument, and the last parenthesis."""

    name: Token
    arguments: tuple[tuple[Token, ...], ...]
    close: Token


def calls(found: Sequence[Token], names: frozenset[str]) -> Iterator[Call]:
    """Every use of one of `names` with arguments, except in the `#define` that creates it."""
    ends = closings(found)
    for index, token in enumerate(found):
        if token.kind == "name" and token.text in names and index + 1 in ends and not _defines(found, index):
            yield _call(found, index, ends[index + 1])


def closings(found: Sequence[Token]) -> dict[int, int]:
    """Of each opening parenthesis that is closed, by its index, the index of the closing one."""
    ends: dict[int, int] = {}
    opened: list[int] = []
    for index, token in enumerate(found):
        if token.text == "(":
            opened.append(index)
        elif token.text == ")" and opened:
            ends[opened.pop()] = index
    return ends


def _defines(found: Sequence[Token], index: int) -> bool:
    return index > 0 and found[index].directive in ("define", "undef") and found[index - 1].text == found[index].directive


def _call(found: Sequence[Token], index: int, end: int) -> Call:
    arguments: list[list[Token]] = [[]]
    depth = 0
    for token in found[index + 2 : end]:
        depth += (token.text == "(") - (token.text == ")")
        if token.text == "," and depth == 0:
            arguments.append([])
        else:
            arguments[-1].append(token)
    return Call(found[index], tuple(map(tuple, arguments)) if arguments != [[]] else (), found[end])


def literal(argument: Sequence[Token]) -> str | None:
    """The value of adjacent string literals, escapes resolved; None if there are other tokens."""
    if not argument or any(token.kind != "string" for token in argument):
        return None
    return "".join(_ESCAPE.sub(_unescape, token.text[1:-1]) for token in argument)


def _unescape(match: re.Match[str]) -> str:
    code = match.group(1)
    if code[0] == "x" and len(code) > 1:
        return chr(int(code[1:], 16) & 0xFF)
    if code[0] in "01234567":
        return chr(int(code, 8) & 0xFF)
    return _ESCAPED.get(code, code)
