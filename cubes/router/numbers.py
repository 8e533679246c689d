"""Numbers of rows that packets may be in, by content: what a tree of routes has in common, whatever its family.

A row that packets may be in is never written. So what is to be as one that there is keeps that one's number, and what is new
gets the lowest number that nothing has. The numbers are kept where they are used: in the tables themselves, from which they are
read back before each plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import count

from cubes.lib.layout import index, number

LEAST, MOST = 64, 1 << 24  # rows of the tables: as the C says, and more than there can be prefixes of use
SPARE = 16  # rows that are free in tables that are made: some edits' worth

Prefix = tuple[int, bytes, bytes]
"""Length, address (4 bytes, or 16), and the row of the table of ways that says where it leads."""


class Numbers:
    """Numbers from 1 on by content: existing content keeps its number, new content gets the lowest free one. Existing objects
    are reused, so that comparisons find identical objects."""

    def __init__(self, live: Mapping[int, bytes]) -> None:
        self._known: dict[bytes, int] = {}
        self._live = live
        for found, content in sorted(live.items(), reverse=True):  # of two that are alike, the lower
            self._known[content] = found
        self._free = (new for new in count(1) if new not in live)
        self.used: dict[int, bytes] = {}

    def of(self, content: bytes) -> int:
        found = self._known.get(content)
        if found is None:
            found = self._known[content] = next(self._free)
        self.used[found] = self._live.get(found, content)
        return found


def entries_for(numbers: Iterable[int], live: int) -> int:
    """How many rows the tables have that use these numbers: as many as they have (`live`), unless that is too few or four times
    too many. A change exchanges them all."""
    needed = 1 + max((0, *numbers))
    if live // 4 < needed <= live:
        return live
    return max(LEAST, 1 << (needed + SPARE - 1).bit_length())


def root_rows(root: int, entries: int) -> dict[bytes, bytes]:
    return {index(0): index(root), index(1): index(entries)}


def root_of(rows: Mapping[bytes, bytes]) -> tuple[int, int]:
    """The root slot of a tree, and the sizes of its tables."""
    entries = number(rows.get(index(1), b""))
    sane = LEAST <= entries <= MOST and not entries & entries - 1
    return number(rows.get(index(0), b"")), entries if sane else LEAST


def numbered(rows: Mapping[bytes, bytes]) -> dict[int, bytes]:
    """Rows by number. Rows of zeros are absent, and so is row 0: slot 0 means no route, and numbers start at 1."""
    return {number(key): row for key, row in rows.items() if any(key) and any(row)}


def keyed(rows: Mapping[int, bytes]) -> dict[bytes, bytes]:
    """The inverse."""
    return {index(key): row for key, row in rows.items()}


def uncovered(prefixes: Iterable[tuple[int, bytes]]) -> Iterator[tuple[tuple[int, bytes], bytes]]:
    """Of each prefix (length, address of 16 bytes) the first address that is in no longer one; one that has none is omitted."""
    open_: list[tuple[int, int, int, bytes]] = []  # of prefixes around this place: next free address, end, length, address
    ordered = sorted({(int.from_bytes(address, "big"), length, address) for length, address in prefixes})
    for start, length, address in [*ordered, (1 << 128, 0, b"")]:
        while open_ and open_[-1][1] <= start:
            free, end, own, whose = open_.pop()
            if free < end:
                yield (own, whose), free.to_bytes(16, "big")
            if open_ and open_[-1][0] == int.from_bytes(whose, "big"):
                open_[-1] = end, *open_[-1][1:]
        open_.append((start, start + (1 << 128 - length), length, address))
