"""Changes of a table and of its rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from reconciler import pins
from reconciler.graph.diff import Change, RowChanges, diff_rows
from reconciler.graph.records import TableRecord, TrampolineRecord
from reconciler.plan.context import ASIDE, NEW, Context
from reconciler.plan.learned import record_address
from reconciler.plan.migrate import carry_over, disruption_of
from reconciler.plan.operations import AdoptMap, CreateMap, DeleteRows, PurgeRows, Remove, Rename, WriteRows
from reconciler.plan.steps import MAP_WRITES, Disruption, Rank, Step
from reconciler.service.model.owned import owned_by


def forget_owned(record: TableRecord, keys: Sequence[bytes], context: Context) -> Iterator[Step]:
    """Rows of state are deleted with the rows that own them: once those no longer exist and no packet in progress has seen
    one, so that none is written again, and an apply that fails has lost nothing."""
    cube = context.cube(record.cube)
    service = context.services.get(cube.service) if cube else None
    if cube is None or service is None:
        return
    tables = context.built_for(record.cube).tables
    for owned in owned_by(record.name, service.bindings, tables):
        if record_address(record.cube, owned.table, tables) in context.desired.state:
            path = pins.table(record.cube, owned.table, tables[owned.table].scope)
            yield Step(
                Rank.RETIRE,
                f"cube/{record.cube}/table/{owned.table}",
                "forget",
                f"owned by rows of {record.name} that go",
                PurgeRows(path, owned.fields, owned.values(keys)),
            )


def plan_table(change: Change, context: Context) -> Iterator[Step]:
    record, before = change.after, change.before
    if not isinstance(record, TableRecord):
        assert isinstance(before, TableRecord)
        if not before.cube and context.live.sealed:
            return  # cubes that we know nothing of may use what is the whole host's
        yield Step(Rank.RETIRE, change.address, "delete", "no program uses it", Remove(before.path))
        return
    path, rank = record.path, Rank.ROWS_OF_NEW if record.cube in context.growing else Rank.ROWS
    live = before if isinstance(before, TableRecord) else None
    lost = live is None and record.path in context.live.adoptable
    if lost:
        adopt = AdoptMap(path, context.live.adoptable[path])
        yield Step(Rank.TABLE, change.address, "adopt", "its pin is gone, the table is not", adopt, (adopt.inverse(),))
        live = context.live.adopted.get(path)
    elif live is None or live.spec != record.spec or live.relaid:
        rank = Rank.POPULATE
        path += NEW if live is not None else ""
        context.rebuilt[record.path] = path
        create = CreateMap(path, tuple(record.spec), record.name, record.btf)
        yield Step(
            Rank.TABLE,
            change.address,
            "create" if live is None else "replace",
            "is needed" if live is None else "has another shape" if live.spec != record.spec else "has other fields",
            create,
            (create.inverse(),),
            None if live is None else list(live.spec),
            list(record.spec),
            Disruption.NONE if live is None else disruption_of(live, record, context),
        )
        if live is not None:
            yield from promote(record, record.path, path)
    if record.rows is not None:
        yield from _plan_rows(record, live, path, rank, context)
    if live is not None and path != record.path:
        yield from carry_over(live, record, path, record.path + ASIDE, context)


def promote(record: TableRecord | TrampolineRecord, path: str, new: str) -> Iterator[Step]:
    """What was recreated takes its old one's name once those that use it are in place."""
    old = path + ASIDE
    for rename in (Rename(path, old), Rename(new, path)):
        yield Step(Rank.NAMES, record.address, "rename", "takes over", rename, (rename.inverse(),))
    yield Step(Rank.RETIRE, record.address, "delete", "was replaced", Remove(old))


def _renewed(rows: RowChanges, init: bytes) -> list[bytes]:
    """The rows in which an init-only leaf changes: the new row replaces the old one as a unit."""
    mask = int.from_bytes(init, "little")

    def changed(key: bytes) -> bool:
        return bool((int.from_bytes(rows.before[key], "little") ^ int.from_bytes(rows.write[key], "little")) & mask)

    return [key for key in rows.write if key in rows.before and changed(key)] if mask else []


def _write(
    record: TableRecord, rank: Rank, path: str, written: Mapping[bytes, bytes], rows: RowChanges, *, anew: bool = False
) -> Step:
    """Write the configuration's bits of rows; `anew`: all bits, so that counters are reset."""
    old = {key: rows.before[key] for key in written if key in rows.before}
    new = tuple(key for key in written if key not in rows.before)
    back = (WriteRows(path, old, record.mask),) if old else ()
    away = (DeleteRows(path, new, record.sparse),) if new else ()
    return Step(
        rank,
        record.address,
        "replace" if anew else "write",
        "an init-only leaf is another" if anew else "configuration",
        WriteRows(path, written, b"\xff" * len(record.mask) if anew else record.mask),
        (*back, *away),
        old or None,
        written,
        Disruption.STATE_RESET if anew else Disruption.NONE,
        MAP_WRITES,
        len(written),
    )


def _plan_rows(record: TableRecord, live: TableRecord | None, path: str, rank: Rank, context: Context) -> Iterator[Step]:
    rows = diff_rows(record, live)
    if record.bits:
        yield from _plan_bits(record, path, rows)
        return
    rank = Rank.POPULATE if record.staged else rank
    renewed = _renewed(rows, record.init)
    if renewed:
        yield _write(record, rank, path, {key: rows.write[key] for key in renewed}, rows, anew=True)
        yield from forget_owned(record, renewed, context)
    if written := {key: value for key, value in rows.write.items() if key not in renewed} if renewed else rows.write:
        yield _write(record, rank, path, written, rows)
    if rows.delete:
        gone = {key: rows.before[key] for key in rows.delete}
        yield Step(
            Rank.RETIRE if record.staged else rank,
            record.address,
            "delete",
            "no longer configured",
            DeleteRows(path, tuple(gone), record.sparse),
            (WriteRows(path, gone, record.mask),),
            gone,
            None,
            Disruption.NONE,
            MAP_WRITES,
            len(gone),
        )
        yield from forget_owned(record, rows.delete, context)


def _plan_bits(record: TableRecord, path: str, rows: RowChanges) -> Iterator[Step]:
    """First the bits of both, then the new ones alone: a packet that finds a bit clear is right at any time between."""
    nothing = bytes(len(record.mask))
    after = {**rows.write, **dict.fromkeys(rows.delete, nothing)}
    both = {key: _either(value, rows.before.get(key, nothing)) for key, value in after.items()}
    if more := {key: value for key, value in both.items() if value != rows.before.get(key, nothing)}:
        yield _write(record, Rank.POPULATE, path, more, rows)
    if less := {key: value for key, value in after.items() if value != both[key]}:
        yield _write(record, Rank.CLEAR, path, less, replace(rows, before=both))


def _either(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one, "little") | int.from_bytes(other, "little")).to_bytes(len(one), "little")
