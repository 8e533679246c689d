"""A rule set for tuple space search (bpf/lib/classify.h) as rows, made from the rows that are there: what is new is added, what
goes is marked, and one word tells which version is in force.

A cell is there from the epoch `born` until before the epoch `dies`. Next to what is in force (epoch E) a change adds cells that
are born at E + 1 and lets others die at E + 1, none of which a packet notices; then the word becomes E + 1. Cells that have
died are deleted with the next change. The lists of tuples are in two banks, of which the epoch's last bit chooses one.

Rows follow from the configuration and the rows that are there; if these say what is wanted, they are what is wanted. Tables are
`epoch` (one word), `versions` (two rows), and any number of tables of cells and of pages. A cell's key has its seat, 16 bits,
four bytes before its end; a cell is its key, zeros up to a multiple of eight bytes, what it says, and its lifetime.
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
    """What a row says, without whose it is and its lifetime."""
    return row[begin(key) : -LIFE.size]


def begin(key: bytes) -> int:
    """Where in a row of this key is what it says."""
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
class InForce:
    """Rows of all tables. `unsettled`: keys, by their table, whose rows say more than what is in force."""

    rows: dict[str, Rows]
    unsettled: Mapping[str, set[bytes]]


def put_in_force(
    wanted: Mapping[str, Wanted],
    pages: Mapping[str, Callable[[int], Rows]],
    version: bytes,
    live: Mapping[str, Mapping[bytes, bytes]],
) -> InForce:
    """`wanted` by the table of the cells, `pages` by theirs: the rows of a bank. Cells that neither `wanted` nor `live` has are
    not in the answer: whoever omits some that are right puts them back."""
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
