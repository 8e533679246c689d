"""The functions of a service, the encoding of bytes in JSON, and the bounds of both sides."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from reconciler.errors import PcnError

VERSION = 1
PURE = frozenset({"sources", "programs", "constants", "sizes", "tables", "config", "state", "check", "actions"})
"""Equal arguments have equal results: responses may be cached, and calls retried."""
EVENTS = frozenset({"cubes", "tick", "packet_in", "out"})
FUNCTIONS = PURE | EVENTS
MOST_PACKETS = 64  # in one call


@dataclass(frozen=True, slots=True)
class Bounds:
    """`seconds` for a call, bytes of a `body`, concurrent calls `in_flight`, nesting `depth` of a value."""

    seconds: float = 2.0
    body: int = 64 << 20
    in_flight: int = 4
    depth: int = 64


BOUNDS = Bounds()


class RpcError(PcnError):
    """A call without response, or with one that violates the contract. `status` is HTTP's, 0 if there was none."""

    def __init__(self, words: str, status: int = 0) -> None:
        super().__init__(words)
        self.status = status


def encode(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def decode(body: bytes, bounds: Bounds = BOUNDS) -> Any:
    """Parses JSON; an empty body is None. Raises RpcError for invalid JSON, or one out of bounds."""
    if len(body) > bounds.body:
        raise RpcError(f"more than {bounds.body} bytes")
    try:
        value = json.loads(body) if body else None
    except (ValueError, RecursionError):
        raise RpcError("no JSON") from None
    level = [value]
    for _ in range(bounds.depth + 1):
        nested: list[Any] = [node.values() if isinstance(node, dict) else node for node in level if isinstance(node, dict | list)]
        if not nested:
            return value
        level = [child for children in nested for child in children]
    raise RpcError(f"nested more than {bounds.depth} deep")


def from_bytes(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def to_bytes(text: str) -> bytes:
    """Raises RpcError for invalid base64."""
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, TypeError):
        raise RpcError("no base64") from None


def from_rows(rows: Mapping[bytes, bytes]) -> list[list[str]]:
    """A table's rows, as pairs of key and value."""
    return [[from_bytes(key), from_bytes(value)] for key, value in rows.items()]


def to_rows(pairs: Iterable[Iterable[str]]) -> dict[bytes, bytes]:
    return {to_bytes(key): to_bytes(value) for key, value in pairs}
