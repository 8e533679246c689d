"""Adopts tables that lost their pin while programs still use them, so that learned rows are not lost.

A program keeps its tables alive, and the kernel lists them. A lost pin is restored on the very table that is in use. Not so a
program array: the kernel empties it when its last pin is removed, and it holds nothing that was learned.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from itertools import chain

from reconciler import pins
from reconciler.graph.diff import diff
from reconciler.graph.records import Live, ProgramRecord, State, TableRecord, TrampolineRecord
from reconciler.kernel.maps import PROG_ARRAY, MapInfo, kernel_name
from reconciler.kernel.percpu import fold_cpus
from reconciler.kernel.reader import Reader


def adoptable(reader: Reader, live: Live, wanted: State) -> tuple[dict[str, int], dict[str, TableRecord]]:
    """Map ids by the path that has no pin, and what those maps hold."""
    missing = (c.after for c in diff(wanted, live.state) if c.before is None and isinstance(c.after, TableRecord))
    lost = [r for r in missing if r.spec[0] != PROG_ARRAY and (not r.cube or r.cube in live.generations)]
    if not lost:
        return {}, {}
    ids: dict[str, int] = {}
    held: dict[str, TableRecord] = {}
    for record in lost:
        for table in _in_use(reader, live, record):
            spec = table.spec
            if (
                table.name == kernel_name(record.name).decode()
                and (spec.type, spec.key_size, spec.value_size, spec.max_entries, spec.flags) == record.spec
            ):
                ids[record.path] = table.identity
                held[record.path] = _content(reader, record, table)
    return ids, held


def overfull(reader: Reader, live: State, wanted: State) -> frozenset[str]:
    """The tables that are to be smaller, and now have more rows than that."""
    shrinking = [
        change.before
        for change in diff(wanted, live)
        if isinstance(change.before, TableRecord) and isinstance(change.after, TableRecord)
        and change.after.spec[3] < change.before.spec[3]
        and len((reader.keys(change.before.path) or (None, ()))[1]) > change.after.spec[3]
    ]
    return frozenset(record.path for record in shrinking)


def is_another(reader: Reader, used: Collection[Collection[int]], pinned: MapInfo, name: str) -> bool:
    """Whether something else is pinned in the place of a table: one of this name is among those that are used, and it is
    not the one that is pinned."""
    for each in used:
        if pinned.identity in each:
            return False
    tables = map(reader.table_by_id, chain.from_iterable(used))
    return any(table is not None and table.name == kernel_name(name).decode() for table in tables)


def _in_use(reader: Reader, live: Live, record: TableRecord) -> list[MapInfo]:
    """Every map that the programs of the record's cube use, on the record's side; of any cube for a shared table."""
    found = []
    for other in live.state.values():
        if not isinstance(other, ProgramRecord | TrampolineRecord) or record.cube not in ("", other.cube):
            continue
        if not _reaches(other.side, record) or (isinstance(other, TrampolineRecord) and other.chain and not other.refused):
            continue  # a chain uses the tables of several cubes, all of which their own programs use too
        if isinstance(other, ProgramRecord):
            found += reader.tables_of(f"{pins.generation(other.cube, live.generations[other.cube])}/{other.name}")
        else:
            found += reader.tables_of(other.path)
    return found


def _reaches(side: str, record: TableRecord) -> bool:
    """Whether a side of a cube uses this very table: each side has its own hops, entry and flood members, under the same
    names, and they share all others."""
    own = record.path.rpartition("/")[2] in pins.OF_A_SIDE and "/tables/" not in record.path
    return not own or side == pins.side_of(record.path)


def _content(reader: Reader, record: TableRecord, table: MapInfo) -> TableRecord:
    if record.rows is None:
        return replace(record, rows=None)
    rows = {}
    for key, raw in reader.rows_by_id(table.identity).items():
        value = fold_cpus(table.spec, raw)
        rows[key] = bytes(v & m for v, m in zip(value, record.mask, strict=False))
    return replace(record, rows={key: value for key, value in rows.items() if not record.sparse or any(value)})
