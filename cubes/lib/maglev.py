"""Consistent hashing after Maglev (Eisenbud et al., NSDI 2016), as bpf/lib/maglev.h reads it: rings of slots that name
backends.

A ring follows from its backends' names and weights alone, in whatever order they are listed, so that read-back yields the
same. Each backend goes through the slots in its own permutation and takes the next free one, as often as its weight.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from reconciler.service.sdk import memoised

SIZES = (251, 4093, 65537)  # primes, so that every step goes through all slots
FAIR = 50  # slots that the least share must be: with so many it is right within 2 %
PAGE = 256  # RING_PAGE


def size_for(weights: Iterable[int]) -> int:
    """The smallest ring in which each of these weights has its share within 2 %, if there is one. 0: nothing is to be shared."""
    counted = [weight for weight in weights if weight]
    if not counted:
        return 0
    return next((size for size in SIZES if size * min(counted) >= FAIR * sum(counted)), SIZES[-1])


def ring(size: int, weights: Mapping[bytes, int]) -> list[bytes]:
    """Names of backends by slot. Those without a weight have no slot; [] if none has one."""
    names = sorted(name for name, weight in weights.items() if weight)
    if not names:
        return []
    starts, steps = zip(*(_order(name, size) for name in names), strict=True)
    return [names[taker] for taker in _fill(size, list(starts), steps, [weights[name] for name in names])]


def _order(name: bytes, size: int) -> tuple[int, int]:
    """Where a backend begins, and how it continues."""
    first, second = struct.unpack("<QQ", hashlib.blake2b(name, digest_size=16).digest())
    return first % size, second % (size - 1) + 1


def _fill(size: int, places: list[int], steps: Sequence[int], weights: Sequence[int]) -> list[int]:
    """Takers by slot. In a round the heaviest takes one slot, and each other one as soon as it has saved up as much weight."""
    slots, left, full = [-1] * size, size, max(weights)
    saved = [0] * len(weights)
    while True:
        for taker, weight in enumerate(weights):
            saved[taker] += weight
            if saved[taker] < full:
                continue
            saved[taker] -= full
            place, step = places[taker], steps[taker]
            while slots[place] >= 0:
                place += step
                if place >= size:
                    place -= size
            slots[place], places[taker] = taker, place
            left -= 1
            if not left:
                return slots


def pages(slots: Sequence[int]) -> list[bytes]:
    """The rows of a ring whose slots are numbers, `struct ring_page` each; the last is filled up with zeros."""
    return [
        struct.pack(f"={PAGE}I", *slots[at : at + PAGE], *[0] * max(0, at + PAGE - len(slots)))
        for at in range(0, len(slots), PAGE)
    ]


@dataclass(frozen=True, slots=True)
class Dealt:
    """What a service's backends are to programs: a ring of so many slots, in pages, and each one's number, as in keys."""

    size: int  # 0: there is no ring
    numbers: Mapping[bytes, bytes]
    pages: tuple[bytes, ...]


def deal(weights: Mapping[bytes, int], size: int = 0) -> Dealt:
    """A ring of these backends; `size` 0: as long as it must be."""
    size = size or size_for(weights.values())
    return (_remembered if size <= SIZES[0] else _dealt)(tuple(sorted(weights.items())), size)


def _dealt(backends: tuple[tuple[bytes, int], ...], size: int) -> Dealt:
    weights = dict(backends)
    numbers: dict[bytes, int] = {}
    for name in weights:
        numbers[name] = number(name, set(numbers.values()))
    slots = ring(size, weights) if any(weights.values()) else []
    rows = tuple(pages([numbers[name] for name in slots]))
    return Dealt(len(slots), {name: struct.pack("=I", found) for name, found in numbers.items()}, rows)


_remembered = memoised(_dealt)  # of short rings: two balancers of one host have the same ones


def murmur3(data: bytes) -> int:
    """MurmurHash3_x86_32 with seed 0, of 32-bit words: `hash_words`."""
    found = 0
    for (word,) in struct.iter_unpack("<I", data):
        found ^= _rotl(word * 0xCC9E2D51, 15) * 0x1B873593 & 0xFFFFFFFF
        found = _rotl(found, 13) * 5 + 0xE6546B64 & 0xFFFFFFFF
    found ^= len(data)
    found = (found ^ found >> 16) * 0x85EBCA6B & 0xFFFFFFFF
    found = (found ^ found >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
    return found ^ found >> 16


def _rotl(word: int, by: int) -> int:
    word &= 0xFFFFFFFF
    return (word << by | word >> (32 - by)) & 0xFFFFFFFF


def slot_of(found: int, size: int) -> int:
    """The slot that a hash points to."""
    return found * size >> 32


def number(name: bytes, taken: Iterable[int] = ()) -> int:
    """A number that follows from a name, and is none of those that are taken: the next one then. Never 0."""
    wanted = int.from_bytes(hashlib.blake2b(name, digest_size=4).digest(), "little") or 1
    while wanted in taken:
        wanted = wanted % 0xFFFFFFFF + 1
    return wanted
