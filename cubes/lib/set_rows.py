"""Rows of named sets of addresses (address_sets.py), built incrementally from lists."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from cubes.lib.address_sets import (
    ALL_OF_4,
    Live,
    Place,
    Rows,
    host_key,
    mask_of_members,
    name_rows,
    numbers_of,
    own_addresses,
    packed,
    place_of,
    prefix_key,
)
from reconciler.service.sdk import Facts, Owned, row_delta, unchanged

_FEW = 4096  # entries; where more change at once, all are gone through

Lists = Mapping[str, Sequence[str]]
"""The entries of each set, by name."""


@dataclass(slots=True)
class SetRows:
    """Rows of sets built from these lists; `own` are the listed prefixes with their sets, and `order` all of them sorted, so
    that prefixes within another one follow it."""

    lists: Lists
    numbers: Mapping[str, int]
    hosts: Rows
    prefixes: Rows
    own: dict[Place, int]
    order: list[Place]
    summed: int | None = None  # the digest, once it was asked for

    def is_of(self, lists: Lists, numbers: Mapping[str, int]) -> bool:
        return numbers == self.numbers and all(
            lists[name] is some or (len(lists[name]) == len(some) and unchanged(some, lists[name])[0] == len(some))
            for name, some in self.lists.items()
        )

    def digest(self) -> int:
        if self.summed is None:
            self.summed = digest(self.hosts, self.prefixes)
        return self.summed

    def go_on_with(self, live: Live) -> None:
        """Of equal tables the live ones are kept, so that later comparisons find identical objects."""
        hosts, prefixes = live.get("set_hosts", {}), live.get("set_prefixes", {})
        if hosts is not self.hosts and hosts == self.hosts:
            self.hosts = hosts
        if prefixes is not self.prefixes and prefixes == self.prefixes:
            self.prefixes = prefixes


_64_BITS = (1 << 64) - 1


def digest(hosts: Rows, prefixes: Rows) -> int:
    """64 bits for the content of sets: the sum of the digests of rows, so that an edit adds and subtracts its own."""
    return (_sum(hosts, hosts) + _sum(prefixes, prefixes)) & _64_BITS


def _sum(rows: Rows, keys: Iterable[bytes]) -> int:
    found = (key + rows[key] for key in keys if key in rows)
    return sum(int.from_bytes(blake2b(row, digest_size=8).digest(), "little") for row in found)


@dataclass(slots=True)
class SetMemory:
    """The sets of one cube as they were the last times."""

    last: deque[SetRows] = field(default_factory=lambda: deque(maxlen=4))

    def rows(self, lists: Lists, numbers: Mapping[str, int], live: Live) -> SetRows:
        found = next((known for known in self.last if known.is_of(lists, numbers)), None)
        if found is None:
            found = next(filter(None, (_edited(known, lists, numbers, live) for known in self.last)), None)
            found = found or _anew(lists, numbers)
            self.last.appendleft(found)
        found.go_on_with(live)
        return found


def _anew(lists: Lists, numbers: Mapping[str, int]) -> SetRows:
    masks: dict[bytes, int] = {}
    own: dict[Place, int] = {}
    for name, some in lists.items():
        bit = 1 << numbers[name]
        for text in some:
            if "/" in text and (place := place_of(text))[1] < 128:
                own[place] = own.get(place, 0) | bit
            else:
                key = host_key(text.partition("/")[0])
                masks[key] = masks.get(key, 0) | bit
    hosts = {key: key + packed(mask) for key, mask in masks.items()}
    order = _with_barrier(sorted(own))
    return SetRows(lists, numbers, hosts, dict(_prefix_rows(order, own, ())), own, order)


def _with_barrier(order: list[Place]) -> list[Place]:
    if order and ALL_OF_4 not in order:
        insort(order, ALL_OF_4)
    return order


def _prefix_rows(order: Iterable[Place], own: Mapping[Place, int], outer: Iterable[Place]) -> Iterator[tuple[bytes, bytes]]:
    """Rows of prefixes that are in order; `outer` are those around the first of them, the widest first."""
    around: list[tuple[Place, int]] = []
    for place in (*outer, *order):
        while around and not _holds(around[-1][0], place):
            around.pop()
        mask = own.get(place, 0)
        every = mask | (around[-1][1] if around and place != ALL_OF_4 else 0)
        around.append((place, every))
        yield prefix_key(place), packed(every) + packed(mask)


def _holds(outer: Place, inner: Place) -> bool:
    return outer[1] <= inner[1] and not (outer[0] ^ inner[0]) >> (128 - outer[1])


def _edited(known: SetRows, lists: Lists, numbers: Mapping[str, int], live: Live) -> SetRows | None:
    """The rows of lists that differ from `known`'s in a few entries; None: in more."""
    if any(known.numbers.get(name, number) != number for name, number in numbers.items()):
        return None
    gone, new = {}, {}
    count = 0
    for name in {**known.lists, **lists}:
        before, after = known.lists.get(name, ()), lists.get(name, ())
        start, rest = unchanged(before, after)
        gone[name], new[name] = before[start : len(before) - rest], after[start : len(after) - rest]
        count += len(gone[name]) + len(new[name])
        if count > _FEW:
            return None
    known.go_on_with(live)
    numbered = {**known.numbers, **numbers}
    hosts: dict[int, int] = {}
    own: dict[Place, int] = {}

    def mask_of(place: Place) -> int:
        if place[1] < 128:
            return own.get(place, known.own.get(place, 0))
        if place[0] in hosts:
            return hosts[place[0]]
        row = known.hosts.get(place[0].to_bytes(16, "big"))
        return mask_of_members(row[16:]) if row else 0

    def put(place: Place, mask: int) -> None:
        if place[1] < 128:
            own[place] = mask
        else:
            hosts[place[0]] = mask

    _change(gone, new, numbered, mask_of, put)
    host_rows = {(raw := number.to_bytes(16, "big")): raw + packed(mask) for number, mask in hosts.items() if mask}
    doomed = [number.to_bytes(16, "big") for number, mask in hosts.items() if not mask]
    made = row_delta(known.hosts, doomed, host_rows) if hosts else known.hosts
    keys: list[bytes] = []
    prefixes, owned, order = known.prefixes, known.own, known.order
    if own:
        prefixes, owned, order, keys = _edited_prefixes(known, own)
    found = SetRows(lists, numbers, made, prefixes, owned, order)
    if known.summed is not None:
        more = _sum(made, [*host_rows]) + _sum(prefixes, keys)
        less = _sum(known.hosts, [*host_rows, *doomed]) + _sum(known.prefixes, keys)
        found.summed = (known.summed + more - less) & _64_BITS
    return found


def _change(
    gone: Lists, new: Lists, numbers: Mapping[str, int], mask_of: Callable[[Place], int], put: Callable[[Place, int], None]
) -> None:
    for name, number in numbers.items():
        for text in gone.get(name, ()):
            place = place_of(text)
            put(place, mask_of(place) & ~(1 << number))
        for text in new.get(name, ()):
            place = place_of(text)
            put(place, mask_of(place) | 1 << number)


def _edited_prefixes(known: SetRows, changed: Mapping[Place, int]) -> tuple[Rows, dict[Place, int], list[Place], list[bytes]]:
    """The rows of prefixes some of which are in other sets now, and the keys to delete."""
    own = {place: mask for place, mask in {**known.own, **changed}.items() if mask}
    order = list(known.order)
    for place in changed:
        at = bisect_left(order, place)
        there = at < len(order) and order[at] == place
        if place in own and not there:
            order.insert(at, place)
        elif place not in own and there and place != ALL_OF_4:
            del order[at]
    order = _with_barrier(order) if own else []
    rows: dict[bytes, bytes] = {}
    for place in changed:
        at = bisect_left(order, place)
        after = bisect_left(order, (place[0] | (1 << (128 - place[1])) - 1, 129))
        rows |= _prefix_rows(order[at:after], own, _around(place, order))
    for place in (ALL_OF_4,) if own else ():
        if prefix_key(place) not in known.prefixes and place not in changed:
            rows |= _prefix_rows([place], own, ())
    doomed = [prefix_key(place) for place in changed if place not in own and place != ALL_OF_4]
    if not own:
        doomed, rows = list(known.prefixes), {}
    more = {key: row for key, row in rows.items() if key not in doomed}
    return row_delta(known.prefixes, doomed, more), own, order, [*doomed, *more]


def _around(place: Place, order: Sequence[Place]) -> list[Place]:
    """The prefixes around one, the widest first."""
    found = []
    for length in range(place[1]):
        outer = place[0] >> (128 - length) << (128 - length), length
        at = bisect_left(order, outer)
        if at < len(order) and order[at] == outer:
            found.append(outer)
    return found


def set_rows(said: Iterable[Mapping[str, Any]], cube: str, live: Live, facts: Facts) -> dict[str, Rows]:
    """The rows of the tables of bpf/lib/address_sets.h, of a model's list `set`. Raises ValueError for too many sets."""
    said = list(said)
    own = frozenset(each["name"] for each in said if each.get("own-addresses"))
    here = own_addresses(facts) if own else ()
    lists = {each["name"]: here if each["name"] in own else each.get("prefix", ()) for each in said}
    numbers = numbers_of(lists, live)
    rows = _MEMORY.of(cube).rows(lists, numbers, live)
    return {"sets": name_rows(numbers, own), "set_hosts": rows.hosts, "set_prefixes": rows.prefixes}


_MEMORY = Owned(SetMemory)  # by cube


def set_digest(cube: str, rows: Mapping[str, Rows]) -> int:
    """Of what is in the sets with these rows; of those that set_rows has just returned, from the digest before an edit."""
    hosts, prefixes = rows["set_hosts"], rows["set_prefixes"]
    known = (each for each in _MEMORY.of(cube).last if each.hosts is hosts and each.prefixes is prefixes)
    found = next(known, None)
    return digest(hosts, prefixes) if found is None else found.digest()
