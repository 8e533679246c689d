"""A request for the handlers: path segments, each decoded, and a body that is JSON or empty.

A key may contain a slash, so the raw path is split (`0.0.0.0%2F0` is one segment) before it is decoded. Trailing and repeated
slashes are ignored: Polycube's client sends both.
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
    """`who`: the caller in the audit log; `match`: the If-Match header, without quotes."""

    method: str
    words: tuple[str, ...]
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    who: str = ""
    match: str | None = None
    host: str = "localhost"
    is_root: bool = True

    def json(self) -> Any:
        """The body. Raises Refusal if it is invalid JSON or empty."""
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
        """The body as an object; an empty body is allowed."""
        if not self.body.strip():
            return {}
        found = self.json()
        if not isinstance(found, dict):
            raise Refusal(400, "invalid-value", "expected an object")
        return found


def words_of(raw_path: bytes) -> tuple[str, ...]:
    """The segments of a raw path. Raises Refusal for invalid UTF-8, or characters that no name can have."""
    try:
        words = tuple(unquote_to_bytes(part).decode() for part in raw_path.split(b"/") if part)
    except UnicodeDecodeError:
        raise Refusal(400, "malformed-message", "the path is not UTF-8") from None
    if len(words) > MOST_WORDS or not all(word.isprintable() for word in words):
        raise Refusal(400, "malformed-message", "the path is too long, or has characters that cannot be printed")
    return words


def query_of(raw: bytes) -> dict[str, str]:
    """The query parameters. Raises Refusal if there are too many."""
    try:
        return dict(parse_qsl(raw.decode("latin-1"), keep_blank_values=True, max_num_fields=MOST_QUERIES))
    except ValueError:
        raise Refusal(400, "malformed-message", f"a query has at most {MOST_QUERIES} fields") from None


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number in JSON")


def _is_deeper(value: Any, levels: int) -> bool:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels < 0 or any(_is_deeper(part, levels - 1) for part in parts if isinstance(part, dict | list))
