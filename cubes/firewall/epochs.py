"""A rule set as rows, made from the rows that are there: what is new is added, what goes is marked, and one word tells which
version is in force.

A cell is there from the epoch `born` until before the epoch `dies`. Next to what is in force (epoch E) a change adds cells that
are born at E + 1 and lets others die at E + 1, none of which a packet notices; then the word becomes E + 1. Cells that have
died are deleted with the next change. The lists of tuples are in two banks, of which the epoch's last bit chooses one.

Rows follow from the configuration and the rows that are there; if these say what is wanted, they are what is wanted.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cubes.firewall.rules import Rule
from cubes.firewall.tuple_selection import MOST_TUPLES, TupleSelection
from cubes.firewall.tuple_space import LABEL, conditions, seat_of, seated, tuple_row

Rows = dict[bytes, bytes]
LIFE = struct.Struct("=IIII")
FOREVER = 0xFFFFFFFF
INDEX = struct.Struct("=I")
VERSION = struct.Struct("=II8I")  # struct version
_ALL_OFF = bytes(VERSION.size)  # nothing is tracked, accepted or listed: a row of zeros, which an array has from the start
PAGE_TUPLES, BANK_PAGES = 8, 64
FAMILIES = (4, 6)
_WRITTEN = 1 << 16  # bit of `layout`: the chain is in the document


@dataclass(frozen=True, slots=True)
class Head:
    """What a version says beside its rules; `actions`, `grids` and `written` by chain."""

    mode: int
    actions: tuple[int, int]
    grids: tuple[tuple[int, int], tuple[int, int]]
    written: tuple[bool, bool]
    counts: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))

    def pack(self) -> bytes:
        words = []
        for chain in (0, 1):
            layout = self.grids[chain][0] | self.grids[chain][1] << 8 | (_WRITTEN if self.written[chain] else 0)
            words += [self.actions[chain], *self.counts[chain], layout]
        return VERSION.pack(self.mode, 0, *words)


def unpack_head(row: bytes) -> Head:
    mode, _, *words = VERSION.unpack(row)
    chains = (words[:4], words[4:])
    return Head(
        mode,
        (chains[0][0], chains[1][0]),
        tuple((layout & 255, layout >> 8 & 255) for *_, layout in chains),  # type: ignore[arg-type]
        tuple(bool(layout & _WRITTEN) for *_, layout in chains),  # type: ignore[arg-type]
        tuple((four, six) for _, four, six, _ in chains),  # type: ignore[arg-type]
    )


def epoch_of(live: Mapping[str, Mapping[bytes, bytes]]) -> int:
    """The epoch in force; 0: there is none yet."""
    row = live.get("epoch", {}).get(INDEX.pack(0))
    return int(INDEX.unpack(row)[0]) if row else 0


def head_in_force(live: Mapping[str, Mapping[bytes, bytes]]) -> Head | None:
    epoch = epoch_of(live)
    if not epoch or "versions" not in live:
        return None
    return unpack_head(live["versions"].get(INDEX.pack(epoch & 1)) or _ALL_OFF)


@dataclass(slots=True)
class _Seats:
    """The cells of one key that are there now, by seat, and those that it shall have."""

    wanted: Sequence[bytes]
    live: dict[int, bytes]


@dataclass(slots=True)
class _Cells:
    """The cells of one family: `rows` that stay as they are, and the keys that need work."""

    rows: Rows
    work: dict[bytes, _Seats] = field(default_factory=dict)


def _sort(wanted: Mapping[bytes, Sequence[bytes]], live: Mapping[bytes, bytes], epoch: int) -> _Cells:
    """What is right as it is, which nearly everything is, and what is not."""
    found = _Cells({})
    crowded: dict[bytes, dict[int, bytes]] = defaultdict(dict)
    size = LIFE.size
    for key, row in live.items():
        if not (key[-4] or key[-3]):
            cells = wanted.get(key)
            if cells is not None and len(cells) == 1 and row[len(key) + 4 : -size] == cells[0] and row.startswith(key):
                born, dies, more, _ = LIFE.unpack_from(row, len(row) - size)
                if born <= epoch and dies == FOREVER and not more:
                    found.rows[key] = row
                    continue
        crowded[seated_none(key)][seat_of(key)] = row
    found.work = {key: _Seats(cells, {}) for key, cells in wanted.items() if key not in found.rows and key not in crowded}
    for key, seats in crowded.items():
        if key in found.rows:  # right by itself, but it is not alone
            seats[0] = found.rows.pop(key)
        found.work[key] = _Seats(wanted.get(key, ()), seats)
    return found


def seated_none(key: bytes) -> bytes:
    return key[:-4] + b"\0\0" + key[-2:]


def cell_of(key: bytes, row: bytes) -> bytes:
    """What a row says, without whose it is and its lifetime."""
    return row[len(key) + 4 : -LIFE.size]


def _packed(key: bytes, seat: int, cell: bytes, life: tuple[int, int, int]) -> bytes:
    """struct cell4 or cell6: it begins with a copy of its key."""
    return seated(key, seat) + bytes(4) + cell + LIFE.pack(*life, 0)


def _alive(row: bytes, epoch: int) -> bool:
    born, dies, _, _ = LIFE.unpack_from(row, len(row) - LIFE.size)
    return bool(born <= epoch < dies)


def is_settled(row: bytes, epoch: int) -> bool:
    """Whether a cell is there in this epoch, and stays."""
    born, dies, _, _ = LIFE.unpack_from(row, len(row) - LIFE.size)
    return bool(born <= epoch and dies == FOREVER)


def _latest(row: bytes) -> int:
    born, dies, _, _ = LIFE.unpack_from(row, len(row) - LIFE.size)
    return int(max(born, dies if dies != FOREVER else 0))


def _is_right(key: bytes, seats: _Seats, epoch: int) -> bool:
    """Whether the cells of a key that are there say what is wanted, and can all be found."""
    alive = sorted(cell_of(key, row) for row in seats.live.values() if _alive(row, epoch))
    return (
        alive == sorted(seats.wanted)
        and all(row.startswith(seated(key, seat)) for seat, row in seats.live.items())
        and all(_latest(row) <= epoch for row in seats.live.values())
        and all(_more(row) == (seat + 1 in seats.live) for seat, row in seats.live.items())
        and set(seats.live) == set(range(len(seats.live)))
    )


def _more(row: bytes) -> bool:
    return bool(LIFE.unpack_from(row, len(row) - LIFE.size)[2])


def _seat(key: bytes, seats: _Seats, epoch: int, following: int) -> list[bytes]:
    """The rows of a key by seat, for both epochs: the one in force and the following one."""
    left = list(seats.wanted)
    found: dict[int, tuple[bytes, int, int]] = {}
    for seat, row in sorted(seats.live.items()):
        cell = cell_of(key, row)
        born, dies, _, _ = LIFE.unpack_from(row, len(row) - LIFE.size)
        if not born <= epoch < dies:
            continue
        if cell in left:
            left.remove(cell)
            found[seat] = cell, born, FOREVER
        else:
            found[seat] = cell, born, following
    free = (seat for seat in range(len(found) + len(left)) if seat not in found)
    for cell in left:
        found[next(free)] = cell, following, FOREVER
    last = max(found, default=-1)
    nobody = next(iter(found.values()), (b"", 0, 0))[0], 0, 0  # where a seat that leads to the next is empty
    cells = [found.get(seat, nobody) for seat in range(last + 1)]
    return [_packed(key, seat, cell, (born, dies, int(seat < last))) for seat, (cell, born, dies) in enumerate(cells)]


Wanted = Mapping[bytes, Sequence[bytes]]
"""What the cells of each key shall say."""


@dataclass(frozen=True, slots=True)
class Derived:
    """Rows of epoch, versions, pages and cells. `unsettled`: keys by family whose rows say more than what is in force."""

    rows: dict[str, Rows]
    unsettled: Mapping[int, set[bytes]]


def derive(
    layouts: Mapping[tuple[int, int], TupleSelection],
    labels: Mapping[int, int],
    head: Head,
    live: Mapping[str, Mapping[bytes, bytes]],
    netdevs: Mapping[str, int],
) -> Derived:
    """`layouts` by (chain, family); `labels` by identity."""
    wanted = {family: _wanted(layouts, family, labels, netdevs) for family in FAMILIES}
    return put_in_force(wanted, _pages(layouts, labels), head, live)


def put_in_force(
    wanted: Mapping[int, Wanted], pages: Pages, head: Head, live: Mapping[str, Mapping[bytes, bytes]]
) -> Derived:
    """`wanted` by family. Cells that neither it nor `live` has are not in the answer: whoever leaves out some that are right puts
    them back."""
    epoch = epoch_of(live)
    sorted_cells = {family: _sort(wanted[family], live.get(f"cells{family}", {}), epoch) for family in FAMILIES}
    wrong = {
        family: {key: seats for key, seats in cells.work.items() if not _is_right(key, seats, epoch)}
        for family, cells in sorted_cells.items()
    }
    latest = [_latest(row) for seats in wrong.values() for each in seats.values() for row in each.live.values()]
    packed = _with_counts(head, pages).pack()
    bank = epoch & 1
    same = (
        bool(epoch)
        and not any(wrong.values())
        and live.get("versions", {}).get(INDEX.pack(bank)) == packed
        and all(_bank_rows(pages, family, bank) == _bank(live.get(f"pages{family}", {}), bank) for family in FAMILIES)
    )
    following = epoch if same else max([epoch, *latest]) + 1
    following += 0 if same or (following - epoch) & 1 else 1  # the other bank
    rows: dict[str, Rows] = {"epoch": {INDEX.pack(0): INDEX.pack(following)}}
    rows["versions"] = _other({INDEX.pack(i): live.get("versions", {}).get(INDEX.pack(i), b"") for i in (0, 1)})
    rows["versions"][INDEX.pack(following & 1)] = packed
    unsettled: dict[int, set[bytes]] = {family: set() for family in FAMILIES}
    for family, cells in sorted_cells.items():
        table = cells.rows
        for key, seats in cells.work.items():
            right = key not in wrong[family] and all(_alive(row, epoch) for row in seats.live.values())
            if same or right:
                table |= {seated(key, seat): row for seat, row in seats.live.items()}
            else:
                table |= {seated(key, seat): row for seat, row in enumerate(_seat(key, seats, epoch, following))}
            if not right:
                unsettled[family].add(key)
        rows[f"cells{family}"] = table
        there = live.get(f"pages{family}", {})
        kept = {key: row for key, row in there.items() if _bank_of(key) != following & 1}
        rows[f"pages{family}"] = _other(kept) | _bank_rows(pages, family, following & 1)
    return Derived(rows, unsettled)


def _other(rows: Rows) -> Rows:
    """The bank that is not in force stays as it is; rows of an array that are all zero are no rows."""
    return {key: row for key, row in rows.items() if any(row)}


def _wanted(
    layouts: Mapping[tuple[int, int], TupleSelection], family: int, labels: Mapping[int, int], netdevs: Mapping[str, int]
) -> dict[bytes, list[bytes]]:
    packed = {identity: LABEL.pack(label) for identity, label in labels.items()}
    return {
        key: [packed[rule.identity] + conditions(rule, family, netdevs) for rule in rules]
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
            number = key[:4]
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
        ranked = sorted((label, INDEX.unpack(number)[0]) for number, label in labels.items())
        found[chain, family] = [tuple_row(number, family, label) for label, number in ranked]
    return found


def _with_counts(head: Head, pages: Pages) -> Head:
    counts = tuple(tuple(len(pages.get((chain, family), ())) for family in FAMILIES) for chain in (0, 1))
    return Head(head.mode, head.actions, head.grids, head.written, counts)  # type: ignore[arg-type]


def _bank_rows(pages: Pages, family: int, bank: int) -> Rows:
    found = {}
    for chain in (0, 1):
        tuples = pages.get((chain, family), ())
        for start in range(0, len(tuples), PAGE_TUPLES):
            some = tuples[start : start + PAGE_TUPLES]
            row = b"".join(some).ljust(PAGE_TUPLES * len(some[0]), b"\0")
            found[INDEX.pack((chain * 2 + bank) * BANK_PAGES + start // PAGE_TUPLES)] = row
    return found


def _bank_of(key: bytes) -> int:
    return int(INDEX.unpack(key)[0]) // BANK_PAGES & 1


def _bank(rows: Mapping[bytes, bytes], bank: int) -> Rows:
    return {key: row for key, row in rows.items() if _bank_of(key) == bank and any(row)}


def rule_order(live: Mapping[str, Mapping[bytes, bytes]], rules: Sequence[Rule]) -> dict[int, int]:
    """The labels that rules have now, by identity."""
    known = live.get("rules", {})
    found = {}
    for rule in rules:
        row = known.get(LABEL.pack(rule.identity))
        if row is not None:
            found[rule.identity] = int(LABEL.unpack_from(row)[0])
    return found
