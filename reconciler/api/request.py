"""A request as the handlers see it: a path of words, decoded each by itself, and a body that is JSON or nothing.

A key may contain a slash, so the path is split as it came (`0.0.0.0%2F0` is one word), and decoded after. Slashes at the end and
twice in a row mean nothing: Polycube's client sends both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn
from urllib.parse import parse_qsl, unquote_to_bytes

from reconciler.api.answers import Refusal

MOST_WORDS, MOST_DEEP, MOST_QUERIES = 64, 64, 32


@dataclass(frozen=True, slots=True)
class Request:
    """`who` is the caller as the audit names it; `match` what If-Match says, without quotes."""

    method: str
    words: tuple[str, ...]
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    who: str = ""
    match: str | None = None
    host: str = "localhost"
    is_root: bool = True

    def json(self) -> Any:
        """The body. Raises Refusal if it is no JSON, or none at all."""
        if not self.body.strip():
            raise Refusal(400, "malformed-message", "a body is missing")
        try:
            found = json.loads(self.body, parse_constant=_no_number)
        except (ValueError, RecursionError) as error:
            raise Refusal(400, "malformed-message", f"the body is no JSON: {error}") from None
        if found is None:
            raise Refusal(400, "malformed-message", "the body is null")
        if _is_deeper(found, MOST_DEEP):
            raise Refusal(400, "malformed-message", f"the body is nested deeper than {MOST_DEEP} levels")
        return found

    def object(self) -> dict[str, Any]:
        """The body of a request that needs none."""
        if not self.body.strip():
            return {}
        found = self.json()
        if not isinstance(found, dict):
            raise Refusal(400, "invalid-value", "expected an object")
        return found


def words_of(raw_path: bytes) -> tuple[str, ...]:
    """The words of a raw path. Raises Refusal for what is no UTF-8, or has characters that no name can have."""
    try:
        words = tuple(unquote_to_bytes(part).decode() for part in raw_path.split(b"/") if part)
    except UnicodeDecodeError:
        raise Refusal(400, "malformed-message", "the path is not UTF-8") from None
    if len(words) > MOST_WORDS or not all(word.isprintable() for word in words):
        raise Refusal(400, "malformed-message", "the path is too long, or has characters that cannot be printed")
    return words


def query_of(raw: bytes) -> dict[str, str]:
    """Raises Refusal if there is too much of it."""
    try:
        return dict(parse_qsl(raw.decode("latin-1"), keep_blank_values=True, max_num_fields=MOST_QUERIES))
    except ValueError:
        raise Refusal(400, "malformed-message", f"a query has at most {MOST_QUERIES} fields") from None


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number in JSON")


def _is_deeper(value: Any, levels: int) -> bool:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels < 0 or any(_is_deeper(part, levels - 1) for part in parts if isinstance(part, dict | list))
