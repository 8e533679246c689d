"""A rule set as rows, built from the live rows: new cells are added, removed ones marked, and one u32 selects the version in
force (cubes/lib/epochs.py)."""

from __future__ import annotations

import functools
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cubes.firewall.rules import Rule
from cubes.firewall.tuple_selection import TupleSelection
from cubes.firewall.tuple_space import LABEL, NUMBER, Numbers, conditions, tuple_row
from cubes.lib import epochs as lib
from cubes.lib.epochs import BANK_PAGES, INDEX, MOST_TUPLES, Rows, Wanted, epoch_of, page_rows

VERSION = struct.Struct("=II8I")  # struct version
_ALL_OFF = bytes(VERSION.size)  # nothing is tracked, accepted or listed: a row of zeros, which an array has from the start
FAMILIES = (4, 6)
_WRITTEN = 1 << 16  # bit of `layout`: the chain is in the document


@dataclass(frozen=True, slots=True)
class Head:
    """A version's content beside its rules; `actions`, `grids`, `written` and `sets` (enum sets) by chain."""

    mode: int
    actions: tuple[int, int]
    grids: tuple[tuple[int, int], tuple[int, int]]
    written: tuple[bool, bool]
    counts: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))
    sets: tuple[int, int] = (0, 0)

    def pack(self) -> bytes:
        words = []
        for chain in (0, 1):
            layout = self.grids[chain][0] | self.grids[chain][1] << 8 | (_WRITTEN if self.written[chain] else 0)
            words += [self.actions[chain], *self.counts[chain], layout]
        return VERSION.pack(self.mode, self.sets[0] | self.sets[1] << 8, *words)


def unpack_head(row: bytes) -> Head:
    mode, sets, *words = VERSION.unpack(row)
    chains = (words[:4], words[4:])
    return Head(
        mode,
        (chains[0][0], chains[1][0]),
        tuple((layout & 255, layout >> 8 & 255) for *_, layout in chains),  # type: ignore[arg-type]
        tuple(bool(layout & _WRITTEN) for *_, layout in chains),  # type: ignore[arg-type]
        tuple((four, six) for _, four, six, _ in chains),  # type: ignore[arg-type]
        (sets & 255, sets >> 8),
    )


def head_in_force(live: Mapping[str, Mapping[bytes, bytes]]) -> Head | None:
    epoch = epoch_of(live)
    if not epoch or "versions" not in live:
        return None
    return unpack_head(live["versions"].get(INDEX.pack(epoch & 1)) or _ALL_OFF)


@dataclass(frozen=True, slots=True)
class Derived:
    """Rows of epoch, versions, pages and cells. `unsettled`: keys by family whose rows have cells of other versions, too."""

    rows: dict[str, Rows]
    unsettled: Mapping[int, set[bytes]]


def derive(
    layouts: Mapping[tuple[int, int], TupleSelection],
    labels: Mapping[int, int],
    head: Head,
    live: Mapping[str, Mapping[bytes, bytes]],
    numbers: Numbers,
) -> Derived:
    """`layouts` by (chain, family); `labels` by identity."""
    wanted = {family: _wanted(layouts, family, labels, numbers) for family in FAMILIES}
    return put_in_force(wanted, _pages(layouts, labels), head, live)


def put_in_force(
    wanted: Mapping[int, Wanted], pages: Pages, head: Head, live: Mapping[str, Mapping[bytes, bytes]]
) -> Derived:
    """`wanted` by family. The result lacks the cells that are neither in it nor in `live`; the caller adds those that it
    omitted though they are right."""
    found = lib.put_in_force(
        {f"cells{family}": cells for family, cells in wanted.items()},
        {f"pages{family}": functools.partial(_bank_rows, pages, family) for family in FAMILIES},
        _with_counts(head, pages).pack(),
        live,
    )
    return Derived(found.rows, {family: found.unsettled[f"cells{family}"] for family in FAMILIES})


def _wanted(
    layouts: Mapping[tuple[int, int], TupleSelection], family: int, labels: Mapping[int, int], numbers: Numbers
) -> dict[bytes, list[bytes]]:
    packed = {identity: LABEL.pack(label) for identity, label in labels.items()}
    return {
        key: [packed[rule.identity] + conditions(rule, family, numbers) for rule in rules]
        for (_, its_family), layout in layouts.items()
        if its_family == family
        for key, rules in layout.cells.items()
    }


# -- the lists of tuples ----------------------------------------------------------------------------------------------

Pages = Mapping[tuple[int, int], Sequence[bytes]]
"""The tuples of each chain and family, the best first."""


def _pages(layouts: Mapping[tuple[int, int], TupleSelection], labels: Mapping[int, int]) -> Pages:
    found = {}
    for place, layout in layouts.items():
        best: dict[bytes, int] = {}
        for key, rules in layout.cells.items():
            label = labels[rules[0].identity]
            number = key[:8]
            if label < best.get(number, 1 << 64):
                best[number] = label
        found[place] = best
    return pages_of(found)


def pages_of(best: Mapping[tuple[int, int], Mapping[bytes, int]]) -> Pages:
    """The tuples of each chain and family, of which `best` has the first rule's label."""
    found = {}
    for (chain, family), labels in best.items():
        if len(labels) > MOST_TUPLES:
            raise ValueError(f"{len(labels)} tuples for IPv{family} are more than {MOST_TUPLES}")
        ranked = sorted((label, NUMBER.unpack(number)) for number, label in labels.items())
        found[chain, family] = [tuple_row(NUMBER.pack(*number), family, label) for label, number in ranked]
    return found


def _with_counts(head: Head, pages: Pages) -> Head:
    counts = tuple(tuple(len(pages.get((chain, family), ())) for family in FAMILIES) for chain in (0, 1))
    return Head(head.mode, head.actions, head.grids, head.written, counts, head.sets)  # type: ignore[arg-type]


def _bank_rows(pages: Pages, family: int, bank: int) -> Rows:
    found: Rows = {}
    for chain in (0, 1):
        found |= page_rows(pages.get((chain, family), ()), (chain * 2 + bank) * BANK_PAGES)
    return found


def rule_order(live: Mapping[str, Mapping[bytes, bytes]], rules: Sequence[Rule]) -> dict[int, int]:
    """The labels that rules have now, by identity."""
    known = live.get("rules", {})
    found = {}
    for rule in rules:
        row = known.get(LABEL.pack(rule.identity))
        if row is not None:
            found[rule.identity] = int(LABEL.unpack_from(row)[0])
    return found
