"""Bloom filter in front of the blacklists: three bits for each address, by its hash, in a row of 512.

The number of rows is a power of two, with 8 bits or more per address, so about one in 33 addresses that are not listed is
looked up in vain. The three bits share a row, so a packet costs one memory access. An edit of one address among 100,000 is
one row: the members of each row are memoised, and the result equals that of a build from scratch.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cubes.lib.layout import index
from reconciler.service.sdk import EntryMemo, Env, Owned, encode, row_delta, unchanged

ROW = 512  # bits
BYTES = ROW // 8
LEAST = 128  # rows: 8 KiB
EACH = 8  # bits of a row for an address, at least

_PLACES = (0, 9, 18)  # of the bits' numbers in a hash, whose highest bits are the row's
_OF_ROW = (1 << 27) - 1

_ALL = (1 << 64) - 1
_HASHES: tuple[Owned[EntryMemo[int]], ...] = (Owned(EntryMemo), Owned(EntryMemo))
Members = Mapping[int, tuple[int, ...]]
"""Of each row its addresses' lowest bits of the hash, in no order; what two have is there twice."""


@dataclass(frozen=True, slots=True)
class _Made:
    count: int
    listed: Sequence[Sequence[int]]
    members: Members
    rows: Mapping[bytes, bytes]


_MADE: Owned[deque[_Made]] = Owned(lambda: deque(maxlen=8))


def count_of(addresses: int) -> int:
    """How many rows are created for so many addresses."""
    return max(LEAST, 1 << (-(-addresses * EACH // ROW) - 1).bit_length())


def hash_of(address: bytes, number: int) -> int:
    """As `may_be_listed` in bpf/ddosmitigator/ddosmitigator.c has it."""
    a, b, c, d = struct.unpack("=4I", address)
    value: int = ((a | b << 32) * 0x9E3779B97F4A7C15 + ((c | d << 32) ^ number)) & _ALL
    return (value ^ value >> 32) * 0xD6E8FEB86659FD93 & _ALL


def hashes(entries: Sequence[Any], number: int, env: Env) -> list[int]:
    """Of the entries of a list; the result must not be changed."""
    return _HASHES[number]().each(entries, lambda _, entry: hash_of(encode("ip", entry["ip"], 16, env), number))


def rows_of(listed: Sequence[Sequence[int]], count: int) -> Mapping[bytes, bytes]:
    """The rows for the hashes of all lists. `count`: how many there are, a power of two."""
    answers = _MADE()
    for made in answers:
        if made.count == count and all(old is new or old == new for old, new in zip(made.listed, listed, strict=True)):
            return made.rows
    edited = (_edited(old, listed) for old in answers if old.count == count)
    made = next(filter(None, edited), None) or _anew(listed, count)
    answers.appendleft(made)
    return made.rows


def _anew(listed: Sequence[Sequence[int]], count: int) -> _Made:
    found: dict[int, list[int]] = {}
    for hashed in listed:
        for value in hashed:
            found.setdefault(value * count >> 64, []).append(value & _OF_ROW)
    members = {row: tuple(values) for row, values in found.items()}
    return _Made(count, listed, members, {index(row): _row(values) for row, values in members.items()})


def _edited(made: _Made, listed: Sequence[Sequence[int]]) -> _Made | None:
    """The answer after an edit; None if most entries differ."""
    gone: list[int] = []
    more: list[int] = []
    for old, new in zip(made.listed, listed, strict=True):
        start, rest = unchanged(old, new)
        gone += old[start : len(old) - rest]
        more += new[start : len(new) - rest]
    if 4 * (len(gone) + len(more)) > sum(map(len, listed)):
        return None
    touched: dict[int, list[int]] = {}
    for hashed, change in ((gone, list.remove), (more, list.append)):
        for value in hashed:
            row = value * made.count >> 64
            change(touched.setdefault(row, list(made.members.get(row, ()))), value & _OF_ROW)
    members = {**made.members, **{row: tuple(values) for row, values in touched.items()}}
    changed = {index(row): _row(values) for row, values in touched.items()}
    written = {key: value for key, value in changed.items() if any(value)}
    return _Made(made.count, listed, members, row_delta(made.rows, changed.keys() - written.keys(), written))


def _row(values: Iterable[int]) -> bytes:
    """`struct filter_row`."""
    row = bytearray(BYTES)
    for value in values:
        for place in _PLACES:
            row[value >> place + 3 & 63] |= 1 << (value >> place & 7)
    return bytes(row)
