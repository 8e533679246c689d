"""A rule set for tuple space search (bpf/lib/classify.h) as rows, built from the live rows: new cells are added, removed ones
marked, and one word selects the version in force.

A cell exists from the epoch `born` until before the epoch `dies`. Beside what is in force (epoch E) an edit adds cells that
are born at E + 1 and sets others to die at E + 1, which no packet notices; then the word becomes E + 1. Dead cells are
deleted with the next edit. The lists of tuples are in two banks, selected by the epoch's last bit.

Rows follow from the configuration and the live rows; if the live rows match the configuration, they are the result. Tables
are `epoch` (one word), `versions` (two rows), and any number of tables of cells and of pages. A cell's key has its seat, 16
bits, four bytes before its end; a cell is its key, zeros up to a multiple of eight bytes, its content, and its lifetime.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

Rows = dict[bytes, bytes]
LIFE = struct.Struct("=IIII")
FOREVER = 0xFFFFFFFF
INDEX = struct.Struct("=I")
PAGE_TUPLES, BANK_PAGES = 8, 64
MOST_TUPLES = PAGE_TUPLES * BANK_PAGES
MOST_LOOKUPS = 512  # STEPS * PASSES of bpf/lib/classify.h
_SEAT = struct.Struct("=H")


def epoch_of(live: Mapping[str, Mapping[bytes, bytes]]) -> int:
    """The epoch in force; 0: there is none yet."""
    row = live.get("epoch", {}).get(INDEX.pack(0))
    return int(INDEX.unpack(row)[0]) if row else 0


def seated(key: bytes, seat: int) -> bytes:
    return key[:-4] + _SEAT.pack(seat) + key[-2:] if seat else key


def seat_of(key: bytes) -> int:
    return int(_SEAT.unpack_from(key, len(key) - 4)[0])


@dataclass(slots=True)
class _Seats:
    """The cells of one key that are there now, by seat, and those that it shall have."""

    wanted: Sequence[bytes]
    live: dict[int, bytes]


@dataclass(slots=True)
class _Cells:
    """The cells of one table: `rows` that stay as they are, and the keys that need work."""

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
            if cells is not None and len(cells) == 1 and row[begin(key) : -size] == cells[0] and row.startswith(key):
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
    """The content of a row, without its owner and lifetime."""
    return row[begin(key) : -LIFE.size]


def begin(key: bytes) -> int:
    """The offset of the content in a row of this key."""
    return (len(key) + 7) & ~7


def _packed(key: bytes, seat: int, cell: bytes, life: tuple[int, int, int]) -> bytes:
    """A cell's struct: it begins with a copy of its key."""
    return seated(key, seat).ljust(begin(key), b"\0") + cell + LIFE.pack(*life, 0)


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
    """Whether the live cells of a key have the wanted content, and can all be found."""
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
class InForce:
    """Rows of all tables. `unsettled`: keys, by their table, whose rows have cells of other versions, too."""

    rows: dict[str, Rows]
    unsettled: Mapping[str, set[bytes]]


def put_in_force(
    wanted: Mapping[str, Wanted],
    pages: Mapping[str, Callable[[int], Rows]],
    version: bytes,
    live: Mapping[str, Mapping[bytes, bytes]],
) -> InForce:
    """`wanted` by the table of the cells, `pages` by theirs: the rows of a bank. The result lacks the cells that are neither
    in `wanted` nor in `live`; the caller adds those that it omitted though they are right."""
    epoch = epoch_of(live)
    sorted_cells = {name: _sort(cells, live.get(name, {}), epoch) for name, cells in wanted.items()}
    wrong = {
        name: {key: seats for key, seats in cells.work.items() if not _is_right(key, seats, epoch)}
        for name, cells in sorted_cells.items()
    }
    latest = [_latest(row) for seats in wrong.values() for each in seats.values() for row in each.live.values()]
    bank = epoch & 1
    same = (
        bool(epoch)
        and not any(wrong.values())
        and live.get("versions", {}).get(INDEX.pack(bank)) == version
        and all(rows_of(bank) == _bank(live.get(name, {}), bank) for name, rows_of in pages.items())
    )
    following = epoch if same else max([epoch, *latest]) + 1
    following += 0 if same or (following - epoch) & 1 else 1  # the other bank
    rows: dict[str, Rows] = {"epoch": {INDEX.pack(0): INDEX.pack(following)}}
    rows["versions"] = _other({INDEX.pack(i): live.get("versions", {}).get(INDEX.pack(i), b"") for i in (0, 1)})
    rows["versions"][INDEX.pack(following & 1)] = version
    unsettled: dict[str, set[bytes]] = {name: set() for name in wanted}
    for name, cells in sorted_cells.items():
        table = cells.rows
        for key, seats in cells.work.items():
            right = key not in wrong[name] and all(_alive(row, epoch) for row in seats.live.values())
            if same or right:
                table |= {seated(key, seat): row for seat, row in seats.live.items()}
            else:
                table |= {seated(key, seat): row for seat, row in enumerate(_seat(key, seats, epoch, following))}
            if not right:
                unsettled[name].add(key)
        rows[name] = table
    for name, rows_of in pages.items():
        kept = {key: row for key, row in live.get(name, {}).items() if _bank_of(key) != following & 1}
        rows[name] = _other(kept) | rows_of(following & 1)
    return InForce(rows, unsettled)


def _other(rows: Rows) -> Rows:
    """The bank that is not in force stays as it is; rows of an array that are all zero are no rows."""
    return {key: row for key, row in rows.items() if any(row)}


def page_rows(tuples: Sequence[bytes], first: int) -> Rows:
    """A list of tuples as pages, the first of which has this index."""
    found = {}
    for start in range(0, len(tuples), PAGE_TUPLES):
        some = tuples[start : start + PAGE_TUPLES]
        found[INDEX.pack(first + start // PAGE_TUPLES)] = b"".join(some).ljust(PAGE_TUPLES * len(some[0]), b"\0")
    return found


def _bank_of(key: bytes) -> int:
    return int(INDEX.unpack(key)[0]) // BANK_PAGES & 1


def _bank(rows: Mapping[bytes, bytes], bank: int) -> Rows:
    return {key: row for key, row in rows.items() if _bank_of(key) == bank and any(row)}
