r"""XSD regular expressions, which YANG uses, into ones that Python and ECMAScript both read the same way.

XSD patterns are anchored without saying so, take ^ and $ literally, and know \i, \c, blocks and class subtraction,
none of which other engines understand. elementpath expands all that into plain character ranges.
"""
from __future__ import annotations

import re
from collections.abc import Sequence

_OPEN, _CLOSE = "^(?:", r")$(?!\n\Z)"
_TOKEN = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]", re.DOTALL)


def translate(pattern: str) -> str:
    """One XSD pattern as the inside of a group, without anchors. Raises ValueError if it is no XSD pattern."""
    from elementpath import translate_pattern
    from elementpath.regex import RegexError

    try:
        whole = translate_pattern(pattern, back_references=False, lazy_quantifiers=False, anchors=False)
        re.compile(whole)
    except (RegexError, re.error) as error:
        raise ValueError(f"'{pattern}' is not an XSD regular expression: {error}") from error
    return _TOKEN.sub(_plain_hyphen, whole.removeprefix(_OPEN).removesuffix(_CLOSE))


def all_of(patterns: Sequence[tuple[str, bool]]) -> str:
    r"""One anchored pattern that a string matches when it matches every (pattern, inverted) of the sequence.

    Look-aheads instead of several schemas: a value then breaks one keyword, and is reported once. `$(?!\n)` because
    Python's $ also matches before a final line feed.
    """
    *others, last = sorted(patterns, key=lambda item: not item[1])
    ahead = "".join(f"(?{'!' if inverted else '='}(?:{translate(text)})$(?!\\n))" for text, inverted in others)
    if last[1]:
        return f"^{ahead}(?!(?:{translate(last[0])})$(?!\\n))"
    return f"^{ahead}(?:{translate(last[0])})$(?!\\n)"


def any_of(patterns: Sequence[str]) -> str:
    """One pattern out of anchored ones, of which a string matches at least one."""
    return "|".join(patterns)


def _plain_hyphen(token: re.Match[str]) -> str:
    """ECMAScript refuses an escaped hyphen outside of [...] (its u flag allows no needless escapes)."""
    return "-" if token[0] == r"\-" else token[0]
