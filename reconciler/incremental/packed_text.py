"""Long texts as zlib streams, of which an edit has only what is new compressed again.

    packer.pack(text)      # what zlib.decompress takes
    packer.unpack(raw)     # quick, if it is what was packed last

A node's document with 5,000 services is 3 MB, which zlib takes 10 ms to compress and 5 to decompress; with each endpoint that
changes, all of it would go both ways. So a text is compressed in blocks that do not refer to one another, and those in which it
says what the last one said are taken from there.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

_BLOCK = 1 << 16  # characters
_HEAD, _TAIL = b"\x78\x01", b"\x03\x00"  # of a zlib stream at its quickest level, and an empty last block


@dataclass(frozen=True, slots=True)
class _Packed:
    """`blocks` are characters with what they are compressed to."""

    text: str = ""
    blocks: Sequence[tuple[int, bytes]] = ()
    whole: bytes = b""


@dataclass(slots=True)
class TextPacker:
    """Remembers the last long text."""

    _last: _Packed = field(default_factory=_Packed)

    def pack(self, text: str) -> bytes:
        raw = text.encode()
        if len(text) < 2 * _BLOCK:
            return zlib.compress(raw, 1)
        known = self._last
        blocks = tuple(_blocks(text, known)) if text != known.text else known.blocks
        whole = b"".join((_HEAD, *(packed for _, packed in blocks), _TAIL, struct.pack(">I", zlib.adler32(raw))))
        self._last = _Packed(text, blocks, whole)
        return whole

    def unpack(self, raw: bytes) -> str:
        """Raises zlib.error, UnicodeDecodeError."""
        last = self._last
        return last.text if raw == last.whole else zlib.decompress(raw).decode()


def _blocks(text: str, known: _Packed) -> Iterator[tuple[int, bytes]]:
    """Those of the last text at the start and at the end in which they agree, and new ones between."""
    start = first = 0
    while first < len(known.blocks) and text.startswith(known.text[start : start + known.blocks[first][0]], start):
        start += known.blocks[first][0]
        first += 1
    end, last = len(text), len(known.blocks)
    behind = len(known.text)
    while last > first and text.endswith(known.text[behind - known.blocks[last - 1][0] : behind], start, end):
        last -= 1
        end, behind = end - known.blocks[last][0], behind - known.blocks[last][0]
    yield from known.blocks[:first]
    count = max(1, round((end - start) / _BLOCK)) if end > start else 0
    for number in range(count):
        piece = text[start + (end - start) * number // count : start + (end - start) * (number + 1) // count]
        yield len(piece), _compressed(piece)
    yield from known.blocks[last:]


def _compressed(piece: str) -> bytes:
    stream = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    return stream.compress(piece.encode()) + stream.flush(zlib.Z_FULL_FLUSH)


PACKER = TextPacker()
"""Of the documents that are applied: what is written is read directly after."""
