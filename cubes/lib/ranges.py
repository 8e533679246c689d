"""Ranges of ports, and the prefixes of them that a masked key can hold."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.service.sdk import memoised

Span = tuple[int, int]
FULL = (0, 65535)


def span_of(text: str) -> Span:
    """(first, last) of FIRST-LAST, as models write ranges of ports."""
    low, _, high = text.partition("-")
    return int(low), int(high)


def mask16(length: int) -> int:
    return 0xFFFF ^ ((1 << (16 - length)) - 1)


def pieces(span: Span, split: bool) -> tuple[tuple[int, int], ...]:
    """(value, length) of the prefixes that a range is kept under; together they contain it. `split`: they are just the range, and
    else a few."""
    if span == FULL:
        return ((0, 0),)
    return ((span[0], 16),) if span[0] == span[1] else _pieces(span, split)


@memoised
def _pieces(span: Span, split: bool) -> tuple[tuple[int, int], ...]:
    low, high = span
    if split:
        return tuple(_prefixes(low, high))
    if high - low < 4:
        return tuple((port, 16) for port in range(low, high + 1))
    length = 16 - (low ^ high).bit_length()
    length = length if length in (12, 8) else 12 if length > 12 else 8 if length > 8 else 0
    return ((low & mask16(length), length),)


def _prefixes(low: int, high: int) -> Iterator[tuple[int, int]]:
    while low <= high:
        size = min(low & -low or 1 << 16, 1 << ((high - low + 1).bit_length() - 1))
        yield low, 17 - size.bit_length()
        low += size
