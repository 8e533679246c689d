"""Persistent lists: a list that was derived from another one records which entries they share.

    new = splice(old, 500, [entry], 9499)   # 10,000 entries with one in the place of one
    unchanged(old, new)                     # (500, 9499), without reading the others

An edit of one rule of 10,000 results in a dozen lists, each derived from its previous version (`incremental.entry_memo`). A
comparison of two versions would visit all entries to find what was known when the second one was created. So a spliced list
records its source, by a mark instead of a reference: it keeps no other list alive.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from operator import is_
from typing import Any, Generic, TypeVar

T = TypeVar("T")
_BLOCK = 512  # that are compared at once
_LISTS = 6  # that are remembered: those of a few cubes of a kind


class PersistentList(list[T]):
    """An immutable list. `mark` is its own; `source` is the mark of the list with which it shares `start` entries at the
    start and `rest` at the end."""

    __slots__ = ("mark", "rest", "source", "start")

    def __init__(self, entries: Sequence[T]) -> None:
        super().__init__(entries)
        self.mark = object()
        self.source: object = None
        self.start = self.rest = 0


def splice(old: Sequence[T], start: int, between: Sequence[T], rest: int) -> PersistentList[T]:
    """The first `start` entries of `old`, others, and its last `rest`."""
    made = PersistentList(old[:start])
    made += between
    made += old[len(old) - rest :]
    made.source, made.start, made.rest = getattr(old, "mark", None), start, rest
    return made


def unchanged(old: Sequence[Any], new: Sequence[Any]) -> tuple[int, int]:
    """How many entries at the start are the same objects, and how many at the end (not counting those again)."""
    if old is new:
        return len(new), 0
    shorter = min(len(old), len(new))
    start, rest = _known(old, new)
    start = _alike(old, new, min(start, shorter), shorter)
    most = shorter - start
    return start, _alike_at_the_end(old, new, min(rest, most), most)


def _known(old: Sequence[Any], new: Sequence[Any]) -> tuple[int, int]:
    """At least so many are the same."""
    if not isinstance(old, PersistentList) or not isinstance(new, PersistentList):
        return 0, 0
    if new.source is old.mark:
        return new.start, new.rest
    if old.source is new.mark:
        return old.start, old.rest
    if new.source is old.source and new.source is not None:
        return min(old.start, new.start), min(old.rest, new.rest)
    return 0, 0


def _alike(old: Sequence[Any], new: Sequence[Any], begin: int, most: int) -> int:
    while begin < most and old[begin] is new[begin]:
        end = min(begin + _BLOCK, most)
        if not all(map(is_, old[begin:end], new[begin:end])):
            return next(place for place in range(begin, end) if old[place] is not new[place])
        begin = end
    return begin


def _alike_at_the_end(old: Sequence[Any], new: Sequence[Any], begin: int, most: int) -> int:
    while begin < most and old[-1 - begin] is new[-1 - begin]:
        end = min(begin + _BLOCK, most)
        ours, theirs = (some[len(some) - end : len(some) - begin] for some in (old, new))
        if not all(map(is_, ours, theirs)):
            return next(place for place in range(begin, end) if old[-1 - place] is not new[-1 - place])
        begin = end
    return begin


class Distinct:
    """Whether no two entries of a list have the same key. Of a list that was spliced, only what is new is examined."""

    def __init__(self, key: Callable[[Any], Hashable]) -> None:
        self.key = key
        self._known: _Recent[set[Hashable]] = _Recent()

    def holds(self, entries: Sequence[Any]) -> bool:
        """Raises what `key` raises."""
        last, keys = self._known.taken(entries) or ((), set())
        if last:
            start, rest = unchanged(last, entries)
            keys.difference_update(map(self.key, last[start : len(last) - rest]))
            keys.update(map(self.key, entries[start : len(entries) - rest]))
        else:
            keys = set(map(self.key, entries))
        if len(keys) != len(entries):
            return False
        self._known.remember(entries, keys)
        return True


class Sums:
    """Sums of some numbers of each entry of a list. Of a list that was spliced, only what is new is examined."""

    def __init__(self, numbers: Callable[[Any], Sequence[int]]) -> None:
        self.numbers = numbers
        self._known: _Recent[tuple[int, ...]] = _Recent()

    def of(self, entries: Sequence[Any]) -> tuple[int, ...]:
        """() of no entries. Raises what `numbers` raises."""
        last, sums = self._known.taken(entries) or ((), ())
        if last:
            start, rest = unchanged(last, entries)
            gone = (tuple(-number for number in self.numbers(each)) for each in last[start : len(last) - rest])
            new = map(self.numbers, entries[start : len(entries) - rest])
            sums = tuple(map(sum, zip(sums, *gone, *new, strict=True)))
        else:
            sums = tuple(map(sum, zip(*map(self.numbers, entries), strict=True)))
        self._known.remember(entries, sums)
        return sums


class _Recent(Generic[T]):
    """What was built from the last few lists, each until another one is built from it."""

    def __init__(self) -> None:
        self._lists: deque[tuple[Sequence[Any], T]] = deque(maxlen=_LISTS)

    def taken(self, entries: Sequence[Any]) -> tuple[Sequence[Any], T] | None:
        """A list that shares half of these entries, with what was built from it, which is no longer kept."""
        for at, known in enumerate(self._lists if len(entries) > 1 else ()):
            if known[0][0] is entries[0] or known[0][-1] is entries[-1]:
                start, rest = unchanged(known[0], entries)
                if start + rest >= len(entries) // 2:
                    del self._lists[at]
                    return known
        return None

    def remember(self, entries: Sequence[Any], made: T) -> None:
        if len(entries) > 1:
            self._lists.appendleft((entries, made))
