"""The bits in front of services: one for each virtual address, by a hash of it, as `may_be_vip` in bpf/lib/balancer.h reads them.

What is for no service is told by them without a look-up in a hash table. With 5,000 virtual addresses one other address in 13 has
the bit of one, and is looked up all the same.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable

from cubes.lib.layout import index
from reconciler.service.sdk import row_delta

Rows = dict[bytes, bytes]

WORDS = 1024  # VIP_MARKS of bpf/lib/balancer.h
_GOLDEN = 0x9E3779B1  # 2**32 over the golden ratio: neighbours are spread
_ALL = (1 << 32) - 1


def place_of(vip: bytes) -> tuple[int, int]:
    """The word and the bit of an address of 16 bytes."""
    a, b, c, d = struct.unpack("=4I", vip)
    hashed = (a ^ b ^ c ^ d) * _GOLDEN & _ALL
    return hashed >> 22, hashed >> 16 & 63


def marks(vips: Iterable[bytes]) -> Rows:
    """The words with a bit set: index -> word."""
    words: dict[int, int] = {}
    for vip in vips:
        word, bit = place_of(vip)
        words[word] = words.get(word, 0) | 1 << bit
    return {index(word): struct.pack("=Q", bits) for word, bits in words.items()}


def marks_after(rows: Rows, changed: Iterable[bytes], vips: Collection[bytes]) -> Rows:
    """`rows`, when the addresses `changed` have come or gone and `vips` are those that there are: the same object if no bit is
    another."""
    touched = {place_of(vip)[0] for vip in changed}
    if not touched:
        return rows
    words = marks(vip for vip in vips if place_of(vip)[0] in touched)
    more = {key: word for key, word in words.items() if rows.get(key) != word}
    gone = [key for key in map(index, touched) if key in rows and key not in words]
    return row_delta(rows, gone, more) if gone or more else rows
