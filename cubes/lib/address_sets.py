"""Named sets of addresses, as rows.

A set has a number. `set_hosts` says of an address, and `set_prefixes` of a prefix, in which sets it is, by their numbers; so an
address needs two look-ups, however many sets there are. A prefix's row says also what holds because a shorter prefix is in a
set; what is written stands beside that. So an entry is one row, but for a prefix in which others lie: those say it too.

IPv4 addresses are ::ffff:a.b.c.d; where there are prefixes, a row for all of IPv4 keeps out what IPv6's say.
"""

from __future__ import annotations

import functools
import struct
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_network
from typing import Any

from cubes.lib.epochs import INDEX
from reconciler.service.sdk import Facts, row_delta, unchanged

WORDS = 8  # SET_WORDS of bpf/lib/address_sets.h
MEMBERS = struct.Struct(f"={WORDS}Q")
MOST_SETS = 64 * WORDS - 1  # 0 is the number of no set
NOT = 0x8000
OWN = 0x80  # in the first byte of a name, which is ASCII: the set is this host's addresses
_MAPPED = bytes(10) + b"\xff\xff"
_LENGTH = struct.Struct("=I")
_ALL_OF_4 = (int.from_bytes(_MAPPED + bytes(4), "big"), 96)
_FEW = 4096  # entries; where more change at once, all are gone through

Rows = Mapping[bytes, bytes]
Live = Mapping[str, Rows]
Place = tuple[int, int]
"""An address as a number of 128 bits, and how many of them count; 128: it is an address, and no prefix."""


# -- names and numbers ------------------------------------------------------------------------------------------------


def numbers_of(names: Iterable[str], live: Live) -> dict[str, int]:
    """The sets' numbers, each the one that it has. A new one gets one that none has, nor one that goes now: packets under way may
    still meet rules for that. Raises ValueError if there are too many."""
    known = names_of(live)
    has = {name: number for number, name in known.items()}
    free = (number for number in range(1, MOST_SETS + 1) if number not in known)
    found = {}
    for name in names:
        number = has.get(name) or next(free, 0)
        if not number:
            raise ValueError(f"{MOST_SETS} sets are the most, those included that go with this change")
        found[name] = number
    return found


def names_of(live: Live) -> dict[int, str]:
    return {int(INDEX.unpack(key)[0]): _name(row) for key, row in live.get("sets", {}).items()}


def _name(row: bytes) -> str:
    return (bytes([row[0] & ~OWN]) + row[1:]).rstrip(b"\0").decode("utf-8", "replace")


def own_of(live: Live) -> frozenset[str]:
    """The sets that are this host's addresses."""
    return frozenset(_name(row) for row in live.get("sets", {}).values() if row[0] & OWN)


def to_word(src_set: str, dst_set: str, numbers: Mapping[str, int]) -> int:
    """What a rule asks of both addresses, as the programs read it (`sets` of struct conditions)."""
    return _half(src_set, numbers) | _half(dst_set, numbers) << 16


def _half(said: str, numbers: Mapping[str, int]) -> int:
    if not said:
        return 0
    return numbers[said[1:]] | NOT if said.startswith("!") else numbers[said]


def from_word(said: int, names: Mapping[int, str]) -> tuple[str, str]:
    """The inverse of `to_word`."""
    src, dst = (
        ("!" if half & NOT else "") + names.get(half & ~NOT, f"#{half & ~NOT}") if half else ""
        for half in (said & 0xFFFF, said >> 16)
    )
    return src, dst


# -- entries ----------------------------------------------------------------------------------------------------------


def place_of(text: str) -> Place:
    address, slash, length = text.partition("/")
    if ":" in address:
        return int(IPv6Address(address)), int(length) if slash else 128
    number = _ALL_OF_4[0] | int.from_bytes(bytes(map(int, address.split("."))), "big")
    return number, 96 + int(length) if slash else 128


def written(place: Place) -> str:
    number, length = place
    raw = number.to_bytes(16, "big")
    if raw.startswith(_MAPPED) and length >= 96:
        text, length = ".".join(map(str, raw[12:])), length - 96
        return text if length == 32 else f"{text}/{length}"
    return str(IPv6Address(raw)) if length == 128 else f"{IPv6Address(raw)}/{length}"


def problem(text: str) -> str:
    """What is wrong with an entry, or an empty string."""
    number, length = place_of(text)
    if number & ((1 << (128 - length)) - 1):
        return f"{text} has bits set beyond its length"
    if ":" in text and number >> 32 == _ALL_OF_4[0] >> 32:
        return f"{text} is of IPv4, and is written {written((number, length))}"
    return f"{text} is written {text.partition('/')[0]}" if length == 128 and "/" in text else ""


def entries(live: Live) -> dict[str, list[str]]:
    """What is in each set, by name."""
    names = names_of(live)
    found: dict[str, list[Place]] = {name: [] for name in names.values()}
    for key, row in live.get("set_hosts", {}).items():
        for number in _numbers(row[16:]):
            found.setdefault(names.get(number, f"#{number}"), []).append((int.from_bytes(key, "big"), 128))
    for key, row in live.get("set_prefixes", {}).items():
        place = int.from_bytes(key[_LENGTH.size :], "big"), int(_LENGTH.unpack_from(key)[0])
        for number in _numbers(row[MEMBERS.size :]):
            found.setdefault(names.get(number, f"#{number}"), []).append(place)
    return {name: [written(place) for place in sorted(places)] for name, places in found.items()}


@functools.lru_cache(maxsize=1 << 12)
def _numbers(members: bytes) -> tuple[int, ...]:
    mask = _mask(members)
    return tuple(number for number in range(64 * WORDS) if mask >> number & 1)


def _mask(members: bytes) -> int:
    return sum(value << 64 * place for place, value in enumerate(MEMBERS.unpack(members)))


@functools.lru_cache(maxsize=1 << 12)
def _packed(mask: int) -> bytes:
    return MEMBERS.pack(*(mask >> 64 * place & (1 << 64) - 1 for place in range(WORDS)))


def _prefix_key(place: Place) -> bytes:
    return _LENGTH.pack(place[1]) + place[0].to_bytes(16, "big")


# -- rows -------------------------------------------------------------------------------------------------------------

Lists = Mapping[str, Sequence[str]]
"""The entries of each set, by name."""


@dataclass(slots=True)
class SetRows:
    """Rows of sets as they were made of these lists; `own` are the prefixes that are written and their sets, and `order` all of
    them, so that those within another one follow it."""

    lists: Lists
    numbers: Mapping[str, int]
    hosts: Rows
    prefixes: Rows
    own: dict[Place, int]
    order: list[Place]

    def is_of(self, lists: Lists, numbers: Mapping[str, int]) -> bool:
        return numbers == self.numbers and all(
            lists[name] is some or (len(lists[name]) == len(some) and unchanged(some, lists[name])[0] == len(some))
            for name, some in self.lists.items()
        )

    def go_on_with(self, live: Live) -> None:
        """Of rows that are equal those that are there are gone on with, so that whoever compares them finds the same objects."""
        hosts, prefixes = live.get("set_hosts", {}), live.get("set_prefixes", {})
        if hosts is not self.hosts and hosts == self.hosts:
            self.hosts = hosts
        if prefixes is not self.prefixes and prefixes == self.prefixes:
            self.prefixes = prefixes


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
    masks: dict[Place, int] = {}
    for name, some in lists.items():
        bit = 1 << numbers[name]
        for text in some:
            place = place_of(text)
            masks[place] = masks.get(place, 0) | bit
    hosts = {(raw := place[0].to_bytes(16, "big")): raw + _packed(mask) for place, mask in masks.items() if place[1] == 128}
    own = {place: mask for place, mask in masks.items() if place[1] < 128}
    order = _with_barrier(sorted(own))
    return SetRows(lists, numbers, hosts, dict(_prefix_rows(order, own, ())), own, order)


def _with_barrier(order: list[Place]) -> list[Place]:
    if order and _ALL_OF_4 not in order:
        insort(order, _ALL_OF_4)
    return order


def _prefix_rows(order: Iterable[Place], own: Mapping[Place, int], outer: Iterable[Place]) -> Iterator[tuple[bytes, bytes]]:
    """Rows of prefixes that are in order; `outer` are those around the first of them, the widest first."""
    around: list[tuple[Place, int]] = []
    for place in (*outer, *order):
        while around and not _holds(around[-1][0], place):
            around.pop()
        mask = own.get(place, 0)
        every = mask | (around[-1][1] if around and place != _ALL_OF_4 else 0)
        around.append((place, every))
        yield _prefix_key(place), _packed(every) + _packed(mask)


def _holds(outer: Place, inner: Place) -> bool:
    return outer[1] <= inner[1] and not (outer[0] ^ inner[0]) >> (128 - outer[1])


def _edited(known: SetRows, lists: Lists, numbers: Mapping[str, int], live: Live) -> SetRows | None:
    """The rows of lists that are `known`'s but for a few entries; None: they are not."""
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
        return _mask(row[16:]) if row else 0

    def put(place: Place, mask: int) -> None:
        if place[1] < 128:
            own[place] = mask
        else:
            hosts[place[0]] = mask

    _change(gone, new, numbered, mask_of, put)
    host_rows = {(raw := number.to_bytes(16, "big")): raw + _packed(mask) for number, mask in hosts.items() if mask}
    doomed = [number.to_bytes(16, "big") for number, mask in hosts.items() if not mask]
    made = row_delta(known.hosts, doomed, host_rows) if hosts else known.hosts
    if not own:
        return SetRows(lists, numbers, made, known.prefixes, known.own, known.order)
    return SetRows(lists, numbers, made, *_edited_prefixes(known, own))


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


def _edited_prefixes(known: SetRows, changed: Mapping[Place, int]) -> tuple[Rows, dict[Place, int], list[Place]]:
    """The rows of prefixes, of which some are in other sets now; and what goes with them."""
    own = {place: mask for place, mask in {**known.own, **changed}.items() if mask}
    order = list(known.order)
    for place in changed:
        at = bisect_left(order, place)
        there = at < len(order) and order[at] == place
        if place in own and not there:
            order.insert(at, place)
        elif place not in own and there and place != _ALL_OF_4:
            del order[at]
    order = _with_barrier(order) if own else []
    rows: dict[bytes, bytes] = {}
    for place in changed:
        at = bisect_left(order, place)
        after = bisect_left(order, (place[0] | (1 << (128 - place[1])) - 1, 129))
        rows |= _prefix_rows(order[at:after], own, _around(place, order))
    for place in (_ALL_OF_4,) if own else ():
        if _prefix_key(place) not in known.prefixes and place not in changed:
            rows |= _prefix_rows([place], own, ())
    doomed = [_prefix_key(place) for place in changed if place not in own and place != _ALL_OF_4]
    if not own:
        doomed, rows = list(known.prefixes), {}
    return row_delta(known.prefixes, doomed, {key: row for key, row in rows.items() if key not in doomed}), own, order


def _around(place: Place, order: Sequence[Place]) -> list[Place]:
    """The prefixes around one, the widest first."""
    found = []
    for length in range(place[1]):
        outer = place[0] >> (128 - length) << (128 - length), length
        at = bisect_left(order, outer)
        if at < len(order) and order[at] == outer:
            found.append(outer)
    return found


def written_sets(live: Live) -> list[dict[str, Any]]:
    """The leaves of a model's list `set`, as the tables hold them."""
    own = own_of(live)
    found = sorted(entries(live).items())
    return [{"name": name, **({"own-addresses": True} if name in own else {"prefix": some})} for name, some in found]


def set_rows(said: Iterable[Mapping[str, Any]], cube: str, live: Live, facts: Facts) -> dict[str, Rows]:
    """The rows of the tables of bpf/lib/address_sets.h, of a model's list `set`. Raises ValueError for too many sets."""
    said = list(said)
    own = frozenset(each["name"] for each in said if each.get("own-addresses"))
    here = own_addresses(facts) if own else ()
    lists = {each["name"]: here if each["name"] in own else each.get("prefix", ()) for each in said}
    numbers = numbers_of(lists, live)
    rows = memory_of(cube).rows(lists, numbers, live)
    return {"sets": name_rows(numbers, own), "set_hosts": rows.hosts, "set_prefixes": rows.prefixes}


def name_rows(numbers: Mapping[str, int], own: frozenset[str] = frozenset()) -> dict[bytes, bytes]:
    """`own` are the names of those that are this host's addresses."""
    found = {}
    for name, number in numbers.items():
        row = name.encode().ljust(64, b"\0")
        found[INDEX.pack(number)] = bytes([row[0] | OWN]) + row[1:] if name in own else row
    return found


def own_addresses(facts: Facts) -> tuple[str, ...]:
    """What this host has, by the fact `addresses`. An IPv4 address of the loopback stands for its whole prefix, as in Linux."""
    there = facts.get("addresses", {})
    whole = {str(ip_network(each, strict=False)).removesuffix("/32") for each in there.get("lo", ()) if ":" not in each}
    return tuple(sorted(whole | {each.partition("/")[0] for some in there.values() for each in some}))


@functools.lru_cache(maxsize=256)
def memory_of(cube: str) -> SetMemory:
    return SetMemory()

