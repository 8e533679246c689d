"""The first lines of a long list's entries, in a structure in which an edit that shifts all later lines is cheap.

The lines are in blocks, relative to a base line of each. An edit that changes the text's length rewrites the lines of one block,
and the bases of later blocks.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

_BLOCK = 512  # entries, at most


@dataclass(frozen=True, slots=True)
class _Block:
    """`lines` are relative to the line `above`."""

    above: int
    lines: array[int]


class LineIndex:
    """Ascending line numbers, from 0. Immutable."""

    __slots__ = ("_above", "_before", "_blocks")

    def __init__(self, lines: Iterable[int] = ()) -> None:
        self._set(_in_blocks(list(lines)))

    def _set(self, blocks: Sequence[_Block]) -> None:
        self._blocks = blocks
        self._before = [0, *accumulate(len(block.lines) for block in blocks)]
        self._above = [block.above for block in blocks]

    def __len__(self) -> int:
        return self._before[-1]

    def __iter__(self) -> Iterator[int]:
        return (block.above + line for block in self._blocks for line in block.lines)

    def __getitem__(self, place: int) -> int:
        number = bisect_right(self._before, place) - 1
        block = self._blocks[number]
        return block.above + block.lines[place - self._before[number]]

    def until(self, line: int) -> int:
        """The number of entries that begin at or before this line."""
        number = bisect_right(self._above, line) - 1
        return self._before[number] + bisect_right(self._blocks[number].lines, line - self._above[number]) if number >= 0 else 0

    def spliced(self, first: int, end: int, lines: Sequence[int], more: int) -> LineIndex:
        """A copy with `lines` for the entries from `first` to before `end`, and with later ones shifted by `more` lines."""
        if first == end and not lines and (not more or end == len(self)):
            return self
        here, there = (min(bisect_right(self._before, place) - 1, len(self._blocks) - 1) for place in (first, end))
        touched = [line for block in self._blocks[here : there + 1] for line in (block.above + each for each in block.lines)]
        offset = self._before[here]
        between = [*touched[: first - offset], *lines, *(line + more for line in touched[end - offset :])]
        later = self._blocks[there + 1 :]
        made = LineIndex()
        made._set([
            *self._blocks[:here], *_in_blocks(between),
            *([_Block(block.above + more, block.lines) for block in later] if more else later),
        ])  # fmt: skip
        return made


def _in_blocks(lines: Sequence[int]) -> list[_Block]:
    parts = (lines[begin : begin + _BLOCK] for begin in range(0, len(lines), _BLOCK))
    return [_Block(part[0], array("L", [line - part[0] for line in part])) for part in parts]
