"""What follows from an object that nobody changes, kept with that object: for as long as it lives, and no longer.

    @derived
    def services_of(document: StoredDocument) -> frozenset[str]: ...      worked out once for each document

    stored = Interned(StoredDocument)
    stored(text) is stored(text)                                          while somebody holds it

So a cache needs no size: it is as large as the snapshots that are held, and what no snapshot has any more no longer exists. An
agent holds what it read last and what is wanted; of an object that both have there is one, and what was built from it for one
is there for all.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Hashable
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

Owner = TypeVar("Owner")
Key = TypeVar("Key", bound=Hashable)
More = ParamSpec("More")
Made = TypeVar("Made")
_KEPT = "_derived"


def derived(work: Callable[Concatenate[Owner, More], Made]) -> Callable[Concatenate[Owner, More], Made]:
    """A function of an object that nobody changes (and of hashable arguments), worked out once for each. What raises is not kept.
    Of an object that can keep nothing, such as a plain dict, it is worked out every time."""

    @functools.wraps(work)
    def kept(owner: Owner, /, *more: More.args, **named: More.kwargs) -> Made:
        try:
            own = owner.__dict__
        except AttributeError:
            return work(owner, *more, **named)
        memo = own.get(_KEPT)
        if memo is None:
            memo = own[_KEPT] = _Memo()
        key = (work, *more, *named.items())
        if key not in memo:
            memo[key] = work(owner, *more, **named)
        made: Made = memo[key]
        return made

    return kept


class _Memo(dict[Any, Any]):
    """A copy of its owner, which may be changed before anybody asks, begins without one."""

    def __deepcopy__(self, _: object) -> _Memo:
        return _Memo()


class Node(dict[str, Any]):
    """A JSON object that nobody changes, on which what follows from it can be kept: json.loads(text, object_hook=Node)."""


class Interned(Generic[Key, Made]):
    """One object for each key, for as long as somebody holds it (hash consing)."""

    def __init__(self, make: Callable[[Key], Made]) -> None:
        self._make = make
        self._alive: weakref.WeakValueDictionary[Key, Made] = weakref.WeakValueDictionary()

    def __call__(self, key: Key) -> Made:
        found = self._alive.get(key)
        if found is None:
            found = self._alive[key] = self._make(key)
        return found

    def alive(self) -> list[Made]:
        """The objects that somebody holds, the latest last."""
        return list(self._alive.values())

    def __len__(self) -> int:
        return len(self._alive)
