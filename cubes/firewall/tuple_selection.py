"""Which grid suits a set of rules, and the cells that they have on it."""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cubes.firewall.rules import Rule
from cubes.firewall.tuple_space import GRIDS, WIDTH, Numbers, covers, keys, rounded
from cubes.lib.epochs import MOST_LOOKUPS, MOST_TUPLES
from cubes.lib.ranges import FULL, Span, pieces
from cubes.lib.stations import is_in_key
from reconciler.service.sdk import recent

_ENOUGH = 24  # look-ups at which no better grid is searched for


@dataclass(frozen=True)
class TupleSelection:
    """The rules of a chain and family on one grid: whose cells each key has, by seat-less key, in the rules' order."""

    grid: int
    cells: Mapping[bytes, Sequence[Rule]]

    @functools.cached_property
    def sizes(self) -> Sizes:
        found: dict[bytes, Counter[int]] = defaultdict(Counter)
        for key, rules in self.cells.items():
            found[key[:8]][len(rules)] += 1
        return found

    @property
    def most(self) -> int:
        return most(self.sizes)

    @property
    def cost(self) -> float:
        return cost(self.sizes)


Sizes = Mapping[bytes, Mapping[int, int]]
"""Of each tuple, how many keys have how many cells."""


def most(sizes: Sizes) -> int:
    """An upper bound of the look-ups of any packet."""
    return sum(max(counts) for counts in sizes.values())


def most_undecided(lookups: int) -> int:
    """The maximum of rules with LOG or a limit that a packet may match, by the rule set's look-ups: every four of them need
    another search (bpf/lib/undecided.h), and all searches for a packet are limited to 16 passes of 32 look-ups
    (bpf/lib/classify.h)."""
    return next((count for fewer, count in ((64, 30), (128, 16), (256, 8)) if lookups < fewer), 4)


def cost(sizes: Sizes) -> float:
    """Expected look-ups of a search that matches existing keys: each tuple, and the average cells per key."""
    counts = [pair for each in sizes.values() for pair in each.items()]
    cells = sum(size * keys for size, keys in counts)
    return len(sizes) + sum(size * size * keys for size, keys in counts) / max(1, cells) + cells / 50_000


def stays(grid: int, sizes: Sizes, rules: int) -> bool:
    """Whether `select_tuples` surely keeps the grid that so many rules are on, without reading others."""
    cells = sum(size * keys for each in sizes.values() for size, keys in each.items())
    fits = len(sizes) <= MOST_TUPLES and cells <= _most_cells(rules)
    return not rules or (fits and most(sizes) <= MOST_LOOKUPS and cost(sizes) <= 2 * _ENOUGH and 0 <= grid < len(GRIDS))


@recent
def select_tuples(rules: tuple[Rule, ...], family: int, before: int | None, numbers: Numbers) -> TupleSelection:
    """The rules of one chain and family on the grid that suits them; `before` is their present grid, which is kept while no
    other is much better. Raises ValueError if none will do.

    Memoised: an apply needs it four times, for the new rules, the previous ones, and the result.
    """
    own = [part for rule in rules for part in rule.alternatives if family in part.families]
    tuples = _tuples(own, family, before is not None and before < len(GRIDS) and GRIDS[before].is_other)
    best = None
    if before in tuples:
        kept = _on(own, family, before, numbers.sets)
        if kept.most <= MOST_LOOKUPS:
            best = kept
    for number in sorted(tuples, key=lambda number: (max(tuples[number], _ENOUGH), number)):
        limit = float("inf") if best is None else best.cost / 1.5 if best.grid == before else best.cost
        if best is not None and best.cost <= (2 * _ENOUGH if best.grid == before else _ENOUGH):
            break
        if tuples[number] < limit and number != before:
            found = _on(own, family, number, numbers.sets)
            if found.most <= MOST_LOOKUPS and found.cost < limit:
                best = found
    if best is None:
        raise ValueError(
            f"these rules, of {len(own)} conditions, are too unlike each other to be searched: on every layout, one packet "
            f"could need more than {MOST_LOOKUPS} look-ups for IPv{family}; use fewer prefix lengths and overlapping ranges"
        )
    return best


def _tuples(rules: Iterable[Rule], family: int, is_other: bool) -> dict[int, int]:
    """How many tuples there are on each grid of one kind, by its number; grids on which there would be too many of them, or of
    cells, are omitted."""
    shapes = Counter(_shape(rule) for rule in rules)
    width, found = WIDTH[family], {}
    asks = any(shape[-1] for shape in shapes)
    for number, grid in enumerate(GRIDS):
        if grid.is_other != is_other or (not grid.sets and not asks):
            continue
        tuples = {
            (rounded(src, grid.step, width), rounded(dst, grid.step, width), a, b, proto, sets if grid.sets else ())
            for src, dst, sport, dport, proto, sets in shapes
            for a in {length for _, length in pieces(sport, grid.split)}
            for b in {length for _, length in pieces(dport, grid.split)}
        }
        cells = sum(
            count * len(pieces(sport, grid.split)) * len(pieces(dport, grid.split))
            for (_, _, sport, dport, _, _), count in shapes.items()
        )
        if len(tuples) <= MOST_TUPLES and cells <= _most_cells(shapes.total()):
            found[number] = len(tuples)
    return found


def _most_cells(rules: int) -> int:
    return 8 * rules + 8192


def _shape(rule: Rule) -> tuple[int, int, Span, Span, bool, tuple[str | bool, ...]]:
    smac = is_in_key(rule.smac)
    return (
        rule.src.length if rule.src else 0, rule.dst.length if rule.dst else 0,
        rule.sport if rule.sport and rule.sport[0] != rule.sport[1] else ((0, 0) if rule.sport else FULL),
        rule.dport if rule.dport and rule.dport[0] != rule.dport[1] else ((0, 0) if rule.dport else FULL),
        rule.proto is not None,
        (rule.src_set, rule.dst_set, smac) if rule.src_set or rule.dst_set or smac else (),
    )  # fmt: skip


_CROWD = 64  # cells of one key that are compared each with each


def _on(rules: Iterable[Rule], family: int, number: int, sets: Mapping[str, int]) -> TupleSelection:
    grid = GRIDS[number]
    cells: dict[bytes, list[Rule]] = {}
    for rule in rules:
        for key in keys(rule, family, grid, sets):
            known = cells.get(key)
            if known is None:
                cells[key] = [rule]
            elif _needs_a_cell(known, rule):
                known.append(rule)
    return TupleSelection(number, cells)


def cells_of(rules: Iterable[Rule]) -> list[Rule]:
    """Those of the rules of one key, in order, that have a cell there."""
    found: list[Rule] = []
    for rule in rules:
        if _needs_a_cell(found, rule):
            found.append(rule)
    return found


def _needs_a_cell(earlier: Sequence[Rule], rule: Rule) -> bool:
    return len(earlier) > _CROWD or not any(covers(first, rule) for first in earlier)
