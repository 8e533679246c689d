"""The content of long tables after steps that write only rows, without reading all of it.

A table of 100,000 rows takes 20 ms to read, and an edit of one service among 5,000 writes a row of it. Its rows are those
that were read before, updated by look-ups of the keys that steps name. Other rows that another program has written in between
are found by the full poll that follows an edit. If the result equals the wanted rows, but for rows that are deleted last, it is
those very objects: nothing is copied then, and nothing compared.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import cast

from reconciler.graph.records import Grouped, Live, Record, RecordGroup, TableRecord
from reconciler.incremental.row_delta import MANY, may_differ, row_delta
from reconciler.kernel import maps
from reconciler.kernel.bpffs import Bpffs
from reconciler.plan.operations import DeleteRows, Grace, WriteRows
from reconciler.plan.steps import Step

Rows = dict[bytes, bytes]


def rows_after(root: Bpffs, before: Iterable[Record], steps: Iterable[Step], wanted: Mapping[str, Record]) -> dict[str, Rows]:
    """By path, of tables among the records `before`, which were read before these steps. `wanted`: records by address. Raises
    OSError."""
    named: dict[str, set[bytes]] = {}
    last: dict[str, set[bytes]] = {}
    for step in steps:
        match step.operation:
            case WriteRows(path, rows) | DeleteRows(path, rows):
                (last if step.rank.phase == "retire" else named).setdefault(path, set()).update(rows)
    nothing = set[bytes]()
    return {
        each.path: _now(root, each, named.get(each.path, nothing), last.get(each.path, nothing), wanted.get(each.address))
        for each in before
        if isinstance(each, TableRecord) and _is_long(each)
    }


def _is_long(record: TableRecord) -> bool:
    """And a hash whose rows are configuration to the last bit, so that a look-up suffices."""
    whole = record.mask == b"\xff" * len(record.mask)
    return record.spec[0] == maps.HASH and whole and not record.sparse and len(record.rows or ()) >= MANY


def _now(root: Bpffs, record: TableRecord, named: set[bytes], last: set[bytes], wanted: Record | None) -> Rows:
    """`last` are the keys of rows that have yet to be deleted, `named` those of all others that steps write or delete."""
    rows, keys = cast("Rows", record.rows), named | last
    if not keys:
        return rows
    fd = root.open_pin(record.path)
    try:
        spec = maps.info(fd).spec
        there = {key: value for key in keys if (value := maps.lookup(fd, spec, key)) is not None}
    finally:
        os.close(fd)
    if isinstance(wanted, TableRecord) and wanted.rows is not None:
        others = may_differ(rows, wanted.rows)
        now = {key: there.get(key) if key in named else rows.get(key) for key in named.union(others or ())}
        now |= dict.fromkeys(last)
        if others is not None and all(wanted.rows.get(key) == value for key, value in now.items()):
            return cast("Rows", wanted.rows)
    return row_delta(rows, keys - there.keys(), there)


def after_retirement(live: Live, steps: Iterable[Step], wanted: Mapping[str, Record]) -> Live | None:
    """What was read before the rows went that these steps deleted last, without those rows; None if more than rows of hashes
    went."""
    state, tables = live.state, live.tables
    for step in steps:
        if step.rank.phase != "retire":
            continue
        match step.operation, state.get(step.address):
            case Grace(), _:
                continue
            case DeleteRows(path, gone, sparse=False), TableRecord(rows=dict()) as record if (
                record.path == path and isinstance(state, Grouped)
            ):
                rows, raw = _without(record, gone, wanted.get(step.address)), tables[record.cube][record.name]
                group = state.groups[record.cube] | {record.address: replace(record, rows=rows)}
                state = state.but({record.cube: RecordGroup(group)})
                own = {**tables[record.cube], record.name: rows if raw is record.rows else row_delta(raw, gone, {})}
                tables = {**tables, record.cube: own}
            case _:
                return None
    return replace(live, state=state, tables=tables)


def _without(record: TableRecord, gone: Collection[bytes], wanted: Record | None) -> Rows:
    """Its rows without these keys; the very rows that are wanted, if those are the same."""
    rows = cast("Rows", record.rows)
    if isinstance(wanted, TableRecord) and wanted.rows is not None:
        others = may_differ(rows, wanted.rows)
        if others is not None and set(gone).issuperset(others) and wanted.rows.keys().isdisjoint(gone):
            return cast("Rows", wanted.rows)
    return row_delta(rows, gone, {})
