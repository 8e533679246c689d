"""Selects the grid for a set of rules in tuple space search (bpf/lib/classify.h), and computes their cells on it.

A tuple is a mask shared by rules. A search does one look-up per tuple, and one per cell of a key found, so both should be
few. A coarser grid has fewer masks, and the cell itself matches the bits that its key omits, so a grid affects speed only. A
service defines the keys of a rule on a grid (`Keys`); a key begins with its tuple's number.
"""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from cubes.lib.epochs import INDEX, MOST_LOOKUPS, MOST_TUPLES

Rule = TypeVar("Rule")
Mask = TypeVar("Mask", bound=Hashable)
Keys = Callable[[Rule, int], Iterable[tuple[bytes, Mask]]]
"""The keys of a rule on the grid of that number, each with its tuple."""

_ENOUGH = 24  # look-ups at which no better grid is searched for


@dataclass(frozen=True)
class Selection(Generic[Rule, Mask]):
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
        """An upper bound of the look-ups of any packet."""
        return sum(max(counts) for counts in self.crowds.values())

    @property
    def fits(self) -> bool:
        return self.most <= MOST_LOOKUPS and len(self.masks) <= MOST_TUPLES

    @property
    def cost(self) -> float:
        """Expected look-ups of a search that matches existing keys."""
        pairs = [pair for counts in self.crowds.values() for pair in counts.items()]
        cells = sum(size * keys for size, keys in pairs)
        return len(self.crowds) + sum(size * size * keys for size, keys in pairs) / max(1, cells) + cells / 50_000

    def ranked(self, label: Callable[[Rule], int]) -> list[tuple[int, int, Mask]]:
        """(label of its first rule, number, mask) of each tuple, the one with the first rule first."""
        best: dict[bytes, int] = {}
        for key, rules in self.cells.items():
            best[key[:4]] = min(best.get(key[:4], 1 << 64), label(rules[0]))
        order = sorted((first, INDEX.unpack(number)[0]) for number, first in best.items())
        return [(first, number, self.masks[number]) for first, number in order]


def select(rules: Sequence[Rule], before: int | None, keys: Keys[Rule, Mask], grids: int, what: str) -> Selection[Rule, Mask]:
    """Rules on the grid that suits them; `before` is the one that they are on now, which is kept while it does. `what` is
    searched for (a packet, a frame). Raises ValueError if none of the grids will do."""
    if before is not None and before < grids:
        kept = _on(rules, before, keys)
        if kept.fits and kept.cost <= 2 * _ENOUGH:
            return kept
    best = None
    for number in range(grids):
        found = _on(rules, number, keys)
        if found.fits and (best is None or found.cost < best.cost):
            best = found
        if best is not None and best.cost <= _ENOUGH:
            break
    if best is None:
        raise ValueError(
            f"these {len(rules)} rules are too unlike each other to be searched: on every layout that there is, one {what} could "
            f"need more than {MOST_LOOKUPS} look-ups; use fewer different masks, and fewer ranges that overlap"
        )
    return best


def _on(rules: Sequence[Rule], number: int, keys: Keys[Rule, Mask]) -> Selection[Rule, Mask]:
    """Raises ValueError for two masks of one number, which are as seldom as a number of 32 bits is met."""
    cells: dict[bytes, list[Rule]] = {}
    masks: dict[int, Mask] = {}
    for rule in rules:
        for key, mask in keys(rule, number):
            cells.setdefault(key, []).append(rule)
            if masks.setdefault(INDEX.unpack_from(key)[0], mask) != mask:
                raise ValueError("two kinds of rules have one number, by chance: change any rule")
    return Selection(number, cells, masks)


def rounded(mask: bytes, step: int) -> bytes:
    """An address's mask of 16 bytes shortened to a multiple of `step` leading bits; full masks stay as they are."""
    if step == 1 or mask == b"\xff" * 16:
        return mask
    length = 128 - (((1 << 128) - 1) ^ int.from_bytes(mask, "big")).bit_length()
    return ((1 << 128) - (1 << (128 - (length - length % step)))).to_bytes(16, "big")
