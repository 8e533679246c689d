"""Long texts as zlib streams, of which an edit has only what is new compressed again.

    packer.pack(text)      # what zlib.decompress takes
    packer.unpack(raw)     # quick, if it is what was packed last

A node's document with 5,000 services is 4 MB, which zlib takes 15 ms to compress and 5 to decompress; with each endpoint that
changes, all of it would go both ways. So a text is compressed in blocks that do not refer to one another, and those which the
last one has too are taken from there, with their checksums.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import NamedTuple

_BLOCK = 1 << 15  # characters
_HEAD, _TAIL = b"\x78\x01", b"\x03\x00"  # of a zlib stream at its quickest level, and an empty last block
_START = 256  # characters by which a block is found again behind an edit
_BASE = 65521  # of Adler-32


class _Block(NamedTuple):
    """`length` in characters, `size` in bytes, before they are `packed`; `sum` is their Adler-32."""

    length: int
    size: int
    sum: int
    packed: bytes


@dataclass(frozen=True, slots=True)
class _Packed:
    text: str = ""
    blocks: Sequence[_Block] = ()
    whole: bytes = b""


@dataclass(slots=True)
class TextPacker:
    """Remembers the last long text."""

    _last: _Packed = field(default_factory=_Packed)

    def pack(self, text: str) -> bytes:
        if len(text) < 4 * _BLOCK:
            return zlib.compress(text.encode(), 1)
        blocks = tuple(_blocks(text, self._last))
        checksum = reduce(_joined, blocks, 1)
        whole = b"".join((_HEAD, *(block.packed for block in blocks), _TAIL, struct.pack(">I", checksum)))
        self._last = _Packed(text, blocks, whole)
        return whole

    def unpack(self, raw: bytes) -> str:
        """Raises zlib.error, UnicodeDecodeError."""
        last = self._last
        return last.text if raw == last.whole else zlib.decompress(raw).decode()


def _blocks(text: str, known: _Packed) -> Iterator[_Block]:
    """Those of the last text, in their order, as far as they are found where the last one that was found ends, or not far behind
    it; and new ones between."""
    old = done = lost = 0  # where the known one begins, where the new text is done, and characters that were not found since
    for block in known.blocks:
        piece = known.text[old : old + block.length]
        old += block.length
        at = done if not lost else text.find(piece[:_START], done, done + lost + _BLOCK)
        if at < 0 or not text.startswith(piece, at):
            lost += block.length
            continue
        yield from _new(text, done, at)
        yield block
        done, lost = at + block.length, 0
    yield from _new(text, done, len(text))


def _new(text: str, start: int, end: int) -> Iterator[_Block]:
    count = max(1, round((end - start) / _BLOCK)) if end > start else 0
    for number in range(count):
        raw = text[start + (end - start) * number // count : start + (end - start) * (number + 1) // count]
        yield _compressed(raw)


def _compressed(piece: str) -> _Block:
    raw = piece.encode()
    stream = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = stream.compress(raw) + stream.flush(zlib.Z_FULL_FLUSH)
    return _Block(len(piece), len(raw), zlib.adler32(raw), packed)


def _joined(checksum: int, block: _Block) -> int:
    """The Adler-32 of what has this one, with a block behind it (as zlib's adler32_combine)."""
    low, high = checksum & 0xFFFF, checksum >> 16
    low_of_block, high_of_block = block.sum & 0xFFFF, block.sum >> 16
    high = (high + high_of_block + block.size * (low - 1)) % _BASE
    return high << 16 | (low + low_of_block - 1) % _BASE


PACKER = TextPacker()
"""Of the documents that are applied: what is written is read directly after."""
