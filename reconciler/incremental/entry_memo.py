"""Memo of a function over the entries of long lists: an edit of one of 10,000 entries recomputes that one.

    names = Entries()
    names.each(list_of_objects, work)     # [work(0, list_of_objects[0]), ...]

An entry is identified by being the very same object. Documents are immutable, and an edited one shares everything that the
edit did not touch with the previous one (`document.incremental_parse`). So a list is compared with the last one with the same
first or last entry, from both ends, and only the entries between are computed.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from reconciler.incremental.persistent_list import PersistentList, splice, unchanged

T = TypeVar("T")

FEW = 32  # entries; in a shorter list all are worked on again
_LISTS = 64  # that are remembered by one kind of work
_ENTRIES = 65_536  # and so many of theirs in all, but for the last two lists: what they keep alive is the documents' memory


@dataclass(frozen=True, slots=True)
class _Done(Generic[T]):
    entries: Sequence[Any]
    made: PersistentList[T]


class EntryMemo(Generic[T]):
    """The results of one function for the most recent lists. The result for an entry may depend on nothing but the entry."""

    def __init__(self) -> None:
        self._by_end: OrderedDict[int, _Done[T]] = OrderedDict()
        self._last: deque[_Done[T]] = deque(maxlen=2)  # what is applied, and what is wanted

    def each(self, entries: Sequence[Any], work: Callable[[int, Any], T]) -> list[T]:
        """The results of `work(index, entry)` for all entries, in a list that must not be changed. Raises what it raises."""
        if len(entries) < FEW:
            return [work(place, entry) for place, entry in enumerate(entries)]
        for done in self._last:
            if done.entries is entries and len(done.made) == len(entries):
                return done.made
        known = self._known(entries)
        if known is None:
            made = PersistentList([work(place, entry) for place, entry in enumerate(entries)])
        else:
            start, rest = unchanged(known.entries, entries)
            between = [work(place, entries[place]) for place in range(start, len(entries) - rest)]
            made = splice(known.made, start, between, rest) if between or len(known.made) != len(entries) else known.made
            self._forget(known)
        self._remember(_Done(entries, made))
        return made

    def _known(self, entries: Sequence[Any]) -> _Done[T] | None:
        """Objects that are remembered are alive, so that no other one has the number of one of them."""
        return self._by_end.get(id(entries[0])) or self._by_end.get(id(entries[-1]))

    def _forget(self, done: _Done[T]) -> None:
        for end in (done.entries[0], done.entries[-1]):
            if self._by_end.get(id(end)) is done:
                del self._by_end[id(end)]

    def _remember(self, done: _Done[T]) -> None:
        self._last.appendleft(done)
        for end in (done.entries[0], done.entries[-1]):
            self._by_end[id(end)] = done
            self._by_end.move_to_end(id(end))
        entries = sum(len(known.entries) for known in self._by_end.values()) // 2
        while len(self._by_end) > 4 and (len(self._by_end) > 2 * _LISTS or entries > _ENTRIES):
            _, oldest = self._by_end.popitem(last=False)
            entries -= len(oldest.entries) // 2
