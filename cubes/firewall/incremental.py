"""Incremental derivation of rows: after an edit, cells of unchanged rules are reused.

`cubes.firewall.tables` is a function of a configuration and of the live rows. An agent calls it repeatedly, with the same
rules but for one, and with the rows of the last answer. Then the answer is the last one, with only the keys derived again
that a rule was added to or removed from. It equals a full derivation (tests/services/firewall/test_incremental.py); where it
might not, `after` returns nothing, and everything is derived.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cubes.firewall.crowding import is_crowded
from cubes.firewall.epochs import FAMILIES, Derived, Head, Pages, head_in_force, pages_of, put_in_force
from cubes.firewall.rule_rows import to_row
from cubes.firewall.rules import Rule
from cubes.firewall.texts import text_rows
from cubes.firewall.tuple_selection import cells_of, stays
from cubes.firewall.tuple_space import GRIDS, LABEL, Numbers, conditions, keys
from cubes.lib.epochs import Rows, Wanted, epoch_of, is_settled, seated
from cubes.lib.order_labels import labels
from reconciler.service.sdk import row_delta, unchanged

_MOST = 256  # rules; more at once are derived anew
NOTHING = bytes(16)  # of a counter that is new
Live = Mapping[str, Mapping[bytes, bytes]]
Chains = Mapping[int, Sequence[Rule]]
"""The rules of each chain that is written, in order."""


@dataclass(slots=True)
class RuleIndex:
    """The rules of one chain and family by their keys, in which sets have the numbers of `sets`. Of each tuple, `best` has the
    labels of its keys' first rules, rising, and `sizes` how many keys have how many cells."""

    family: int
    grid: int
    sets: Mapping[str, int]
    rules: dict[bytes, list[Rule]] = field(default_factory=dict)
    best: dict[bytes, list[int]] = field(default_factory=lambda: defaultdict(list))
    sizes: dict[bytes, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    count: int = 0

    def fill(self, rules: Iterable[Rule], order: Mapping[int, int]) -> None:
        """The first rules, in order. All at once they take a third of the time that `change` would."""
        own = [part for rule in rules for part in rule.alternatives if self.family in part.families]
        self.count = len(own)
        for rule in own:
            for key in keys(rule, self.family, GRIDS[self.grid], self.sets):
                self.rules.setdefault(key, []).append(rule)
        for key, some in self.rules.items():
            self.sizes[key[:8]][len(cells_of(some))] += 1
            self.best[key[:8]].append(order[some[0].identity])
        for best in self.best.values():
            best.sort()

    def change(self, gone: Iterable[Rule], new: Iterable[Rule], order: Mapping[int, int]) -> set[bytes]:
        """Take rules out and in; the keys that have others now. `order` has the labels of all of them."""
        gone, new = (
            [part for rule in some for part in rule.alternatives if self.family in part.families] for some in (gone, new)
        )
        self.count += len(new) - len(gone)
        touched: dict[bytes, list[Rule]] = {}
        for rule in (*gone, *new):
            for key in keys(rule, self.family, GRIDS[self.grid], self.sets):
                touched.setdefault(key, self.rules.get(key, []))
        doomed = {rule.identity for rule in gone}
        for key, before in touched.items():
            if before:
                self._count(key, before, order, -1)
            self.rules[key] = [rule for rule in before if rule.identity not in doomed]
        for rule in new:
            for key in keys(rule, self.family, GRIDS[self.grid], self.sets):
                insort(self.rules[key], rule, key=lambda each: order[each.identity])
        for key in touched:
            if self.rules[key]:
                self._count(key, self.rules[key], order, 1)
            else:
                del self.rules[key]
        return set(touched)

    def _count(self, key: bytes, rules: Sequence[Rule], order: Mapping[int, int], sign: int) -> None:
        number, label = key[:8], order[rules[0].identity]
        self.sizes[number][len(cells_of(rules))] += sign
        self.sizes[number] += Counter()  # forget what there is none of
        best = self.best[number]
        if sign > 0:
            insort(best, label)
        else:
            del best[bisect_left(best, label)]
        if not best:
            del self.best[number], self.sizes[number]


@dataclass(slots=True)
class RuleIndexes:
    """All rules of a configuration by their keys, and their labels by identity."""

    lots: dict[tuple[int, int], RuleIndex]
    order: dict[int, int]

    @classmethod
    def of(cls, chains: Chains, order: Mapping[int, int], grids: Sequence[Sequence[int]], sets: Mapping[str, int]) -> RuleIndexes:
        lots = {
            (number, family): RuleIndex(family, grids[number][at], sets)
            for number in chains
            for at, family in enumerate(FAMILIES)
        }
        for (number, _), lot in lots.items():
            lot.fill(chains[number], order)
        return cls(lots, dict(order))

    def pages(self) -> Pages:
        return pages_of({place: {number: best[0] for number, best in lot.best.items()} for place, lot in self.lots.items()})


@dataclass(slots=True)
class CachedAnswer:
    """One answer: of `chains`, `head`, `numbers` and the rows `live` it is `rows`. `index` continues to the answer that is
    built from this one, which then is not the `first` any more; `seen` are rows that were found to be just these."""

    chains: Chains
    order: Mapping[int, int]
    head: Head
    numbers: Numbers
    live: Live
    rows: dict[str, Mapping[bytes, bytes]]
    unsettled: Mapping[int, set[bytes]]
    index: RuleIndexes | None = None
    first: bool = True
    seen: Live = field(default_factory=dict)

    def is_about(self, chains: Chains, head: Head, numbers: Numbers) -> bool:
        return (
            chains.keys() == self.chains.keys()
            and all(_are_the_same(rules, self.chains[number]) for number, rules in chains.items())
            and head == self.head
            and numbers == self.numbers
        )

    def holds_for(self, live: Live) -> bool:
        """Whether these are the rows from which the answer was derived, or those that it results in."""
        return self.is_in_force(live) or _agree(live, self.live)

    def warm_index(self, live: Live) -> None:
        """Builds the tuple index eagerly, so that the first edit does not pay for it."""
        if self.first and self.is_in_force(live):
            self.index, self.first = RuleIndexes.of(self.chains, self.order, self.head.grids, self.numbers.sets), False
            self.unsettled = {family: _unsettled(keys, family, live) for family, keys in self.unsettled.items()}

    def is_in_force(self, live: Live) -> bool:
        """Memoised, since it is called several times for the very same rows. Of equal tables the live ones are kept, so that
        later comparisons find identical objects."""
        same = bool(self.seen) and all(live.get(name) is self.seen.get(name) for name in _ASKED)
        if not same and _agree(live, self.rows):
            self.seen, same = dict(live), True
            same_now = {name for name in _COMPARED if name in self.rows}
            self.rows |= {name: rows for name, rows in live.items() if name in same_now or self.rows.get(name) == rows}
        return same


def _are_the_same(rules: Sequence[Rule], others: Sequence[Rule]) -> bool:
    return rules is others or (len(rules) == len(others) and unchanged(rules, others)[0] == len(rules))


_ASKED = ("epoch", "versions", "pages4", "pages6", "cells4", "cells6", "rules", "texts")
_ARRAYS = ("versions", "pages4", "pages6")
_COMPARED = frozenset(_ASKED) - frozenset(_ARRAYS)  # of which rows that agree are equal


def _agree(live: Live, rows: Live) -> bool:
    for name in _ASKED:
        ours, theirs = live.get(name, {}), rows.get(name, {})
        if ours is not theirs and (_said(ours) if name in _ARRAYS else ours) != theirs:
            return False
    return True


def _said(rows: Mapping[bytes, bytes]) -> Rows:
    """Rows of an array that are all zero are none."""
    return {key: row for key, row in rows.items() if any(row)}


def apply_delta(known: CachedAnswer, chains: Chains, head: Head, live: Live, numbers: Numbers) -> CachedAnswer | None:
    """The rows for a configuration that differs from `known`'s in some rules; None: they must be derived in full."""
    before = head_in_force(live)
    if not (
        chains.keys() == known.chains.keys() and known.numbers.agrees_with(numbers) and known.is_in_force(live)
        and before is not None and before.grids == head.grids
    ):  # fmt: skip
        return None
    edits = {number: _edit(known.chains[number], rules) for number, rules in chains.items()}
    if sum(len(rules) for edit in edits.values() for rules in edit) > _MOST:
        return None
    gone, new = ({rule.identity for edit in edits.values() for rule in edit[side]} for side in (0, 1))
    if gone & new or new & known.order.keys() or len(new) != sum(len(edit[1]) for edit in edits.values()):
        return None  # a rule that changes its place or its content, or is there twice
    order = _labels(known, chains, edits)
    if order is None:
        return None
    index = known.index or RuleIndexes.of(known.chains, known.order, head.grids, known.numbers.sets)
    known.index, known.first = None, False  # it will be another one's
    index.order = {**known.order, **order}
    touched: dict[int, set[bytes]] = {family: set() for family in FAMILIES}
    both = {**known.numbers.sets, **numbers.sets}
    for (number, family), lot in index.lots.items():
        lot.sets = both
        touched[family] |= lot.change(*edits[number], index.order)
        if not stays(lot.grid, lot.sizes, lot.count):
            return None
    for identity in gone:
        del index.order[identity]
    return _derived(known, index, touched, (chains, head, live, numbers), edits)


Edit = tuple[Sequence[Rule], Sequence[Rule]]
"""Rules that went and rules that came, all at one place."""


def _edit(old: Sequence[Rule], new: Sequence[Rule]) -> Edit:
    start, rest = unchanged(old, new)
    return old[start : len(old) - rest], new[start : len(new) - rest]


def _labels(known: CachedAnswer, chains: Chains, edits: Mapping[int, Edit]) -> dict[int, int] | None:
    """Labels of the new rules, from those beside them; None if these have to move."""
    found: dict[int, int] = {}
    for number, (_, new) in edits.items():
        if not new:
            continue
        rules = chains[number]
        start = unchanged(known.chains[number], rules)[0]
        beside = [rule.identity for rule in rules[max(0, start - 1) : start + len(new) + 1]]
        labelled = {identity: known.order[identity] for identity in beside if identity in known.order}
        given = labels(beside, labelled)
        if not labelled or any(given[identity] != label for identity, label in labelled.items()):
            return None
        found |= {identity: label for identity, label in given.items() if identity not in labelled}
    return found


def _derived(known: CachedAnswer, index: RuleIndexes, touched: Mapping[int, set[bytes]],
             asked: tuple[Chains, Head, Live, Numbers], edits: Mapping[int, Edit]) -> CachedAnswer | None:  # fmt: skip
    chains, head, live, numbers = asked
    wanted, theirs = {}, dict(live)
    for family in FAMILIES:
        name, work = f"cells{family}", touched[family] | known.unsettled[family]
        theirs[name], wanted[family] = _cells(live.get(name, {}), work), _wanted(index, family, work, numbers)
    found = put_in_force(wanted, index.pages(), head, theirs)
    if any(is_crowded(lot.sizes, found.rows[f"cells{family}"]) for (_, family), lot in index.lots.items()):
        return None
    rows: dict[str, Mapping[bytes, bytes]] = {**found.rows}
    for name in (f"cells{family}" for family in FAMILIES):
        rows[name] = row_delta(live.get(name, {}), theirs[name], found.rows[name])
    gone = [LABEL.pack(rule.identity) for rules, _ in edits.values() for rule in rules]
    came = [rule for _, rules in edits.values() for rule in rules]
    new = {LABEL.pack(rule.identity): to_row(rule, index.order[rule.identity], numbers.sets) for rule in came}
    rows["rules"] = row_delta(live.get("rules", {}), gone, new)
    rows["counters"] = row_delta(known.rows["counters"], gone, dict.fromkeys(new, NOTHING))
    doomed = [key for rules, _ in edits.values() for rule in rules for key in text_rows(rule)]
    rows["texts"] = row_delta(live.get("texts", {}), doomed, {key: row for rule in came for key, row in text_rows(rule).items()})
    return CachedAnswer(chains, index.order, head, numbers, dict(live), rows, found.unsettled, index, first=False)


def _unsettled(keys: Iterable[bytes], family: int, live: Live) -> set[bytes]:
    """Of the keys whose cells change once these rows are in force, those with cells still to be deleted."""
    rows, epoch = live.get(f"cells{family}", {}), epoch_of(live)
    return {key for key in keys if not all(is_settled(row, epoch) for row in _cells(rows, [key]).values())}


def _cells(rows: Mapping[bytes, bytes], keys: Iterable[bytes]) -> Rows:
    """The cells of some keys, out of all rows."""
    found = {}
    for key in keys:
        seat = 0
        while (place := seated(key, seat)) in rows:
            found[place] = rows[place]
            seat += 1
    return found


def _wanted(index: RuleIndexes, family: int, work: Iterable[bytes], numbers: Numbers) -> Wanted:
    found: dict[bytes, list[bytes]] = defaultdict(list)
    for (_, its_family), lot in index.lots.items():
        for key in work if its_family == family else ():
            for rule in cells_of(lot.rules.get(key, ())):
                found[key].append(LABEL.pack(index.order[rule.identity]) + conditions(rule, family, numbers))
    return dict(found)


def derive_afresh(
    chains: Chains, order: Mapping[int, int], head: Head, live: Live, numbers: Numbers, found: Derived
) -> CachedAnswer:
    every = [rule for some in chains.values() for rule in some]
    rules = {LABEL.pack(rule.identity): to_row(rule, order[rule.identity], numbers.sets) for rule in every}
    texts = {key: row for rule in every for key, row in text_rows(rule).items()}
    counters = dict.fromkeys(rules, NOTHING)
    rows: dict[str, Mapping[bytes, bytes]] = {**found.rows, "rules": rules, "counters": counters, "texts": texts}
    return CachedAnswer(chains, order, head, numbers, dict(live), rows, found.unsettled)
