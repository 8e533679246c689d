"""The files that a C text may include: those beside it, and the kernel's headers by their plain names.

The compiler runs as root, and its messages quote lines of files. So a text that names any other file is rejected before the
compiler reads it, and so is every notation of a directive that `tokens` might not recognise.
(As root, the child cannot open other files either: see `bcc_child`.)
"""
from __future__ import annotations

import re
from collections.abc import Sequence

from reconciler.compiler.sources import Source, complaint
from reconciler.compiler.tokens import Token

_DIRECTIVES = frozenset(
    ("define", "undef", "if", "ifdef", "ifndef", "elif", "else", "endif", "error", "warning", "pragma", "include")
)
_HEADER = re.compile(r"<[\w+-][\w.+-]*(/[\w+-][\w.+-]*)*>")
_DEEPEST = 100  # nested parentheses: each level costs a pass over its content
_RAW = frozenset(("R", "LR", "uR", "UR", "u8R"))


def refuse_other_files(source: Source, tokens: Sequence[Token]) -> None:
    """Raise CompileError, with the line, for text that could make the compiler read another file."""
    if "\r" in source.text:
        line = source.text[: source.text.index("\r")].count("\n") + 1
        raise complaint(source, line, "a carriage return that ends no line: clang takes it for a line's end")
    starts = depth = 0  # line of the current directive; depth of parentheses
    for number, token in enumerate(tokens):
        depth = max(0, depth + (token.text == "(") - (token.text == ")"))
        if depth > _DEEPEST:
            raise complaint(source, token.line, f"more than {_DEEPEST} parentheses in one another")
        fresh = number == 0 or tokens[number - 1].line != token.line
        following = tokens[number + 1] if number + 1 < len(tokens) else None
        if token.kind == "name" and token.text in _RAW and following is not None and following.start == token.end:
            if following.kind == "string":
                raise complaint(source, token.line, "a raw string: write it as a plain one")
        elif fresh and (token.text, following and following.text) in (("%", ":"), ("?", "?")):
            raise complaint(source, token.line, f"{token.text}{':' if token.text == '%' else '?='} for #: write #")
        elif token.directive == "#" and token.text == "#":
            starts = token.line
            if following is not None and following.line == starts and following.directive not in _DIRECTIVES:
                known = ", ".join(sorted(_DIRECTIVES))
                raise complaint(source, starts, f"#{following.text} is not known here; there are {known}")
        elif token.directive == "include" and token.text == "include" and token.line == starts:
            _refuse_include(source, token, following)
            starts = 0


def _refuse_include(source: Source, token: Token, following: Token | None) -> None:
    if following is not None and following.kind == "string":
        return  # `prepare` inlines it, or raises
    rest = source.text[token.end :].split("\n", 1)[0].strip()
    if not _HEADER.match(rest):
        what = "a plain name, of a kernel's header in <> or of a file beside this one"
        raise complaint(source, token.line, f"an #include takes {what}")
