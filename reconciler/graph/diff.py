"""Two graphs in, what differs out. Pure, and blind to what anything means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from itertools import compress, filterfalse
from operator import ne

from reconciler.graph.records import (
    CubeRecord,
    Grouped,
    ProgramRecord,
    Record,
    RecordGroup,
    State,
    TableRecord,
    TopologyRecord,
    TrampolineRecord,
)
from reconciler.incremental.row_delta import learn, may_differ

_NONE = RecordGroup({})


@dataclass(frozen=True, slots=True)
class Change:
    """`before` None: to be created; `after` None: to be removed."""

    address: str
    before: Record | None
    after: Record | None

    @property
    def action(self) -> str:
        return "create" if self.before is None else "delete" if self.after is None else "update"


@dataclass(frozen=True, slots=True)
class RowChanges:
    """What must be written to and deleted from a table; `before` has the rows that are overwritten or deleted."""

    write: Mapping[bytes, bytes]
    delete: tuple[bytes, ...]
    before: Mapping[bytes, bytes]

    def __len__(self) -> int:
        return len(self.write) + len(self.delete)


def diff(wanted: State, live: State) -> list[Change]:
    """Every address at which the two differ, removals last."""
    if wanted is live:
        return []
    if isinstance(wanted, Grouped) and isinstance(live, Grouped):
        return _by_groups(wanted.groups, live.groups)
    changes = [
        Change(address, found, record)
        for address, record in wanted.items()
        if (found := live.get(address)) is not record and found != record
    ]
    changes += [Change(address, record, None) for address, record in live.items() if address not in wanted]
    return changes


def _by_groups(wanted: Mapping[str, RecordGroup], live: Mapping[str, RecordGroup]) -> list[Change]:
    changes = []
    for owner, group in wanted.items():
        other = live.get(owner, _NONE)
        if not group.is_known_to_be(other):
            found = diff(dict(group), dict(other))
            changes += found
            if not found and other is not _NONE:
                other.like = group
    changes += [Change(address, record, None) for owner in live.keys() - wanted.keys() for address, record in live[owner].items()]
    return sorted(changes, key=lambda change: change.after is None)


def diff_rows(wanted: TableRecord, live: TableRecord | None) -> RowChanges:
    """Row by row; a live table of another shape or layout, or none, counts as empty."""
    now: Mapping[bytes, bytes] = {}
    if live is not None and live.spec == wanted.spec and not live.relaid and live.rows is not None:
        now = live.rows
    rows = wanted.rows or {}
    keys = may_differ(now, rows)
    if keys is not None:
        write = {key: rows[key] for key in keys if key in rows and rows[key] != now.get(key)}
        doomed = tuple(key for key in keys if key in now and key not in rows)
    else:
        write = dict(compress(rows.items(), map(ne, map(now.get, rows), rows.values())))
        none_goes = len(now) + sum(key not in now for key in write) == len(rows)
        doomed = () if none_goes else tuple(filterfalse(rows.__contains__, now))
        learn(now, rows, (*write, *doomed))
    return RowChanges(write, doomed, {key: now[key] for key in (*write, *doomed) if key in now})


def differing_fields(change: Change) -> list[str]:
    """Names of the fields in which an update differs."""
    if change.before is None or change.after is None:
        return []
    return [f.name for f in fields(change.after) if getattr(change.before, f.name, None) != getattr(change.after, f.name)]


def is_other_code(change: Change) -> bool:
    """Whether the difference is only that newer code exists than was loaded, and the kernel was not tampered with."""
    live, wanted = change.before, change.after
    if isinstance(live, TableRecord) and isinstance(wanted, TableRecord):
        return live.spec != wanted.spec or live.relaid
    if isinstance(live, ProgramRecord) and isinstance(wanted, ProgramRecord):
        return live.object != wanted.object and not live.object.startswith("foreign:")
    if isinstance(live, TrampolineRecord) and isinstance(wanted, TrampolineRecord):
        return bool(live.chain and wanted.chain) and not live.chain.startswith("foreign:")
    return False


def without_documents(changes: list[Change]) -> list[Change]:
    """Leave out the applied documents: they are the record of an apply, not a part of what forwards packets."""
    return [change for change in changes if not isinstance(change.after or change.before, TopologyRecord)]


def without_parts(changes: Iterable[Change]) -> list[Change]:
    """A cube that no longer exists is one thing, not a line for each of its parts."""
    changes = list(changes)
    gone = {change.after.name for change in changes if change.before is None and isinstance(change.after, CubeRecord)}
    extra = {change.before.name for change in changes if change.after is None and isinstance(change.before, CubeRecord)}

    def is_part(change: Change) -> bool:
        record = change.after or change.before
        return not isinstance(record, CubeRecord) and getattr(record, "cube", None) in (
            gone if change.before is None else extra if change.after is None else ()
        )

    return [change for change in changes if not is_part(change)]
