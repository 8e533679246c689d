"""Which bits of a frame are a rule's key, on one of several grids, and what its cell says.

A tuple is a mask that some rules have. A search looks once into each tuple, and once at each cell of a key, so both should be
few. A grid makes fewer masks of many: lengths of addresses are rounded down; ranges of ports are one prefix that holds them,
or, split, all prefixes that they are. What a key leaves out the cell itself asks, so a grid is a matter of speed only.
"""

from __future__ import annotations

import functools
import hashlib
import struct
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cubes.lib.epochs import INDEX, MOST_LOOKUPS, MOST_TUPLES
from cubes.lib.ranges import mask16, pieces
from cubes.pbforwarder.rules import Rule

_CONDITIONS = struct.Struct("=QQHHHHBBBBBBH")  # struct conditions
_KEY = struct.Struct("=I52sHBB")
_TUPLE = struct.Struct("=QII52sBB2x")
_PORTS = slice(32, 36)  # of a vector
_ENOUGH = 24  # look-ups at which no better grid is searched for
GRIDS = tuple((step, split) for split in (False, True) for step in (1, 4, 8, 16, 32, 128))
"""By the number that is kept in the version's `layout`."""

Mask = tuple[bytes, int, int]
"""A tuple: the vector's mask, the protocol's, that of the port of arrival."""


@dataclass(frozen=True)
class Selection:
    """Rules on one grid: by key, those that have a cell there, in order; and the tuples by number."""

    grid: int
    cells: dict[bytes, list[Rule]]
    masks: dict[int, Mask]

    @functools.cached_property
    def crowds(self) -> dict[bytes, Counter[int]]:
        """Of each tuple, how many keys have how many cells."""
        found: dict[bytes, Counter[int]] = defaultdict(Counter)
        for key, rules in self.cells.items():
            found[key[:4]][len(rules)] += 1
        return found

    @property
    def most(self) -> int:
        """Look-ups that no packet's search can exceed."""
        return sum(max(counts) for counts in self.crowds.values())

    @property
    def fits(self) -> bool:
        return self.most <= MOST_LOOKUPS and len(self.masks) <= MOST_TUPLES

    @property
    def cost(self) -> float:
        """Look-ups of a search that finds its keys in use."""
        pairs = [pair for counts in self.crowds.values() for pair in counts.items()]
        cells = sum(size * keys for size, keys in pairs)
        return len(self.crowds) + sum(size * size * keys for size, keys in pairs) / max(1, cells) + cells / 50_000


@functools.lru_cache(maxsize=8)
def select(rules: tuple[Rule, ...], before: int | None) -> Selection:
    """Rules on the grid that suits them; `before` is the one that they are on now, which is kept while it does. Raises
    ValueError if none will do."""
    if before is not None and before < len(GRIDS):
        kept = _on(rules, before)
        if kept.fits and kept.cost <= 2 * _ENOUGH:
            return kept
    best = None
    for number in range(len(GRIDS)):
        found = _on(rules, number)
        if found.fits and (best is None or found.cost < best.cost):
            best = found
        if best is not None and best.cost <= _ENOUGH:
            break
    if best is None:
        raise ValueError(
            f"these {len(rules)} rules are too unlike each other to be searched: on every layout that there is, one frame could "
            f"need more than {MOST_LOOKUPS} look-ups; use fewer different masks, and fewer ranges that overlap"
        )
    return best


def _on(rules: Sequence[Rule], number: int) -> Selection:
    cells: dict[bytes, list[Rule]] = {}
    masks: dict[int, Mask] = {}
    for rule in rules:
        for key, mask in _keys(rule, *GRIDS[number]):
            cells.setdefault(key, []).append(rule)
            masks[_space(mask)] = mask
    return Selection(number, cells, masks)


@functools.lru_cache(maxsize=1 << 17)
def _keys(rule: Rule, step: int, split: bool) -> tuple[tuple[bytes, Mask], ...]:
    return tuple(_keys_of(rule, step, split))


def _keys_of(rule: Rule, step: int, split: bool) -> Iterator[tuple[bytes, Mask]]:
    coarse = _rounded(rule.mask[:16], step) + _rounded(rule.mask[16:32], step)
    for sport, sport_length in pieces(rule.sport, split):
        for dport, dport_length in pieces(rule.dport, split):
            ports = INDEX.pack(mask16(sport_length) << 16 | mask16(dport_length))
            mask = (coarse + ports + rule.mask[36:], 255 if rule.proto else 0, 255 if rule.port >= 0 else 0)
            value = rule.value[:32] + INDEX.pack(sport << 16 | dport) + rule.value[36:]
            yield _KEY.pack(_space(mask), _masked(value, mask[0]), 0, rule.proto, max(rule.port, 0)), mask


def _masked(value: bytes, mask: bytes) -> bytes:
    return (int.from_bytes(value, "big") & int.from_bytes(mask, "big")).to_bytes(len(mask), "big")


@functools.lru_cache(maxsize=1 << 16)
def _rounded(mask: bytes, step: int) -> bytes:
    """An address's mask with no more bits than its first ones, by `step`; whole addresses stay whole."""
    if step == 1 or mask == b"\xff" * 16:
        return mask
    length = 128 - (((1 << 128) - 1) ^ int.from_bytes(mask, "big")).bit_length()
    return ((1 << 128) - (1 << (128 - (length - length % step)))).to_bytes(16, "big")


@functools.lru_cache(maxsize=1 << 16)
def _space(mask: Mask) -> int:
    """A tuple's number."""
    return int.from_bytes(hashlib.blake2b(mask[0] + bytes(mask[1:]), digest_size=4).digest(), "little")


def tuple_rows(chosen: Selection) -> list[bytes]:
    """The tuples, the one with the first rule first."""
    best: dict[bytes, int] = {}
    for key, rules in chosen.cells.items():
        best[key[:4]] = min(best.get(key[:4], 1 << 64), rules[0].id + 1)
    ranked = sorted((label, INDEX.unpack(space)[0]) for space, label in best.items())
    return [_tuple_row(label, space, chosen.masks[space]) for label, space in ranked]


def _tuple_row(label: int, space: int, mask: Mask) -> bytes:
    return _TUPLE.pack(label, space, INDEX.unpack(mask[0][_PORTS])[0], *mask)


@functools.lru_cache(maxsize=1 << 17)
def conditions(rule: Rule) -> bytes:
    """What a cell says, without whose it is and its lifetime."""
    asked = _CONDITIONS.pack(
        rule.id + 1, rule.identity, *rule.sport, *rule.dport, rule.needs_ports, rule.proto, 255 if rule.proto else 0,
        max(rule.port, 0), 255 if rule.port >= 0 else 0, rule.action, rule.out_port,
    )  # fmt: skip
    return asked + rule.value + rule.mask
