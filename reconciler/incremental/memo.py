"""Memos with an owner: what was computed is kept with the object that it follows from, or by whoever it was computed for.

    @derived
    def services_of(document: StoredDocument) -> frozenset[str]: ...      once for each document, and freed with it

    stored = Interned(StoredDocument)
    stored(text) is stored(text)                                          while it is referenced

    @memoised
    def prefix(text: str) -> Prefix: ...                                  once for each text, and each owner

    _ROUTES: Owned[EntryMemo[Route]] = Owned(EntryMemo)
    _ROUTES().each(entries, work)                                         the owner's EntryMemo
    _ANSWERS.of(cube)                                                     one for each of the owner's cubes

    memo.run(function, config, env)                                       in there, on this thread, its holder is the owner

A process has one copy of a module, so results must not be stored in modules. The holder of a `Memo` (each service has one, see
`service.implementation`, and so have the checks with a set of services) runs its work in it. Outside of any memo the same
functions compute the same results, and nothing is stored.
"""

from __future__ import annotations

import functools
import weakref
from _thread import _local  # threading.local, without what else threading imports
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast

Owner = TypeVar("Owner")
Key = TypeVar("Key", bound=Hashable)
More = ParamSpec("More")
Made = TypeVar("Made")
P = ParamSpec("P")
T = TypeVar("T")

_DERIVED = "_derived"
_RESULTS = 1 << 17  # of one function: an agent that runs for a year must not remember all addresses that it has seen
_RECENT = 8  # large ones
_KEYS = 1024  # as many cubes as a host has
_FEW = 256  # results of a function that has few


def derived(work: Callable[Concatenate[Owner, More], Made]) -> Callable[Concatenate[Owner, More], Made]:
    """A function of an immutable object (and of hashable arguments), computed once for each. Exceptions are not memoised.
    Without a `__dict__` on the object, as of a plain dict, it is computed every time."""

    @functools.wraps(work)
    def kept(owner: Owner, /, *more: More.args, **named: More.kwargs) -> Made:
        try:
            own = owner.__dict__
        except AttributeError:
            return work(owner, *more, **named)
        memo = own.get(_DERIVED)
        if memo is None:
            memo = own[_DERIVED] = _Derived()
        key = (work, *more, *named.items())
        if key not in memo:
            memo[key] = work(owner, *more, **named)
        made: Made = memo[key]
        return made

    return kept


class _Derived(dict[Any, Any]):
    """A copy of its owner, which may be changed before its first use, begins without one."""

    def __deepcopy__(self, _: object) -> _Derived:
        return _Derived()


class Node(dict[str, Any]):
    """An immutable JSON object, on which derived values can be memoised: json.loads(text, object_hook=Node)."""


class Interned(Generic[Key, Made]):
    """One object for each key, for as long as it is referenced (hash consing)."""

    def __init__(self, make: Callable[[Key], Made]) -> None:
        self._make = make
        self._alive: weakref.WeakValueDictionary[Key, Made] = weakref.WeakValueDictionary()

    def __call__(self, key: Key) -> Made:
        found = self._alive.get(key)
        if found is None:
            found = self._alive[key] = self._make(key)
        return found

    def alive(self) -> list[Made]:
        """The referenced objects, the latest last."""
        return list(self._alive.values())

    def __len__(self) -> int:
        return len(self._alive)


class _Now(_local):
    owner: Memo | None = None


_NOW = _Now()


class Memo:
    """The values of one owner, by the functions and `Owned`s that use them."""

    def __init__(self) -> None:
        self.kept: dict[object, Any] = {}

    def run(self, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        before, _NOW.owner = _NOW.owner, self
        try:
            return work(*arguments, **named)
        finally:
            _NOW.owner = before

    def get(self, key: object, make: Callable[[], T]) -> T:
        found: T | None = self.kept.get(key)
        if found is None:
            found = self.kept[key] = make()
        return found


class Owned(Generic[T]):
    """A value of which each owner has its own, created on first use."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make

    def __call__(self) -> T:
        memo = _NOW.owner
        return self._make() if memo is None else memo.get(self, self._make)

    def of(self, key: str | bytes | tuple[object, ...]) -> T:
        """One for each key; the least recently used ones are evicted."""
        memo = _NOW.owner
        if memo is None:
            return self._make()
        known: OrderedDict[object, T] = memo.get((self, "keys"), OrderedDict)
        found = known.get(key)
        if found is None:
            found = known[key] = self._make()
            if len(known) > _KEYS:
                known.popitem(last=False)
        else:
            known.move_to_end(key)
        return found


def memoised(work: Callable[P, T]) -> Callable[P, T]:
    """A pure function of hashable, positional arguments, computed once for each owner."""
    return _cached(work, _RESULTS)


def recent(work: Callable[P, T]) -> Callable[P, T]:
    """As `memoised`, of large results: only the last few are kept."""
    return _cached(work, _RECENT)


def _cached(work: Callable[P, T], most: int) -> Callable[P, T]:
    def cache() -> Any:
        return functools.lru_cache(most)(work)

    @functools.wraps(work)
    def kept(*arguments: Any) -> Any:
        memo = _NOW.owner
        if memo is None:
            return work(*arguments)  # type: ignore[call-arg]
        return (memo.kept.get(work) or memo.get(work, cache))(*arguments)

    return cast("Callable[P, T]", kept)


def once(work: Callable[P, T]) -> Callable[P, T]:
    """A function with few different results, which are the same for as long as the process runs: a file that is part of pcn, a
    feature of this kernel, the shapes of tables. It is for values that are slow to compute and belong to the process as such."""
    return cast("Callable[P, T]", functools.lru_cache(_FEW)(work))
