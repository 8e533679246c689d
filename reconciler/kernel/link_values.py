"""JSON objects as targets of symlinks, of at most 4,095 bytes: longer ones (records of cubes with many programs) are compressed.

    unpacked(packed(value)) == value

`packed` raises ValueError for a value that is too long even so.
"""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

MOST = 4095
_MARK = "z:"
_MOST_UNPACKED = 1 << 20


def packed(value: dict[str, Any]) -> str:
    text = json.dumps(value)
    if len(text) <= MOST:
        return text
    short = _MARK + base64.b85encode(zlib.compress(text.encode(), 9)).decode()
    if len(short) > MOST:
        raise ValueError(f"{len(text)} bytes of JSON, {len(short)} compressed, are more than a symlink's {MOST}")
    return short


def unpacked(text: str) -> dict[str, Any] | None:
    """The inverse of `packed`; None if the text is no JSON object."""
    try:
        if text.startswith(_MARK):
            text = zlib.decompressobj().decompress(base64.b85decode(text.removeprefix(_MARK)), _MOST_UNPACKED).decode()
        found = json.loads(text)
    except (ValueError, zlib.error):
        return None
    return found if isinstance(found, dict) else None
