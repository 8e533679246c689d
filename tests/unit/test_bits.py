"""A table of bits in front of others is written so that no packet finds a bit clear whose row is there."""
from __future__ import annotations

from reconciler.graph.diff import diff_rows
from reconciler.graph.records import TableRecord
from reconciler.plan.operations import WriteRows
from reconciler.plan.steps import Rank, Step
from reconciler.plan.tables import _plan_bits

PATH = "cubes/c/tables/t"


def table(**rows: int) -> TableRecord:
    found = {key.encode(): bytes([value]) for key, value in rows.items()}
    return TableRecord("c", "t", PATH, (2, 1, 1, 100, 0), found, b"\xff", sparse=True, bits=True)


def steps(before: TableRecord, after: TableRecord) -> list[Step]:
    return list(_plan_bits(after, PATH, diff_rows(after, before)))


def done(rows: dict[bytes, bytes], step: Step) -> dict[bytes, bytes]:
    return {**rows, **step.operation.rows}


def undone(rows: dict[bytes, bytes], step: Step) -> dict[bytes, bytes]:
    for undo in step.undo:
        rows = {**rows, **(undo.rows if isinstance(undo, WriteRows) else dict.fromkeys(undo.keys, b"\0"))}
    return rows


def test_bits_are_set_before_any_row_is_written_and_cleared_after() -> None:
    before, after = table(a=0b0011, b=0b1000, c=0b1, e=0b1), table(a=0b0110, c=0b11, d=0b1, e=0b1)
    first, last = steps(before, after)
    assert first.rank < Rank.ROWS <= Rank.ROWS_OF_NEW < Rank.CAUGHT_UP < last.rank < Rank.GRACE
    rows = {b"a": b"\x03", b"b": b"\x08", b"c": b"\x01", b"e": b"\x01"}
    between = done(rows, first)
    assert between == {b"a": b"\x07", b"b": b"\x08", b"c": b"\x03", b"d": b"\x01", b"e": b"\x01"}
    assert done(between, last) == {b"a": b"\x06", b"b": b"\x00", b"c": b"\x03", b"d": b"\x01", b"e": b"\x01"}
    assert undone(done(between, last), last) == between
    assert undone(between, first) == {**rows, b"d": b"\x00"}


def test_what_only_comes_or_only_goes_is_one_step() -> None:
    assert [step.rank for step in steps(table(a=1), table(a=3, b=1))] == [Rank.POPULATE]
    assert [step.rank for step in steps(table(a=3, b=1), table(a=1))] == [Rank.CLEAR]
    assert steps(table(a=3), table(a=3)) == []
