"""Rows of a long table after steps that write few of them: what is looked up, and which object they are."""
from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.graph.records import TableRecord
from reconciler.incremental.row_delta import RowDelta, row_delta
from reconciler.kernel import maps
from reconciler.live.rows_after import rows_after
from reconciler.plan.operations import DeleteRows, WriteRows
from reconciler.plan.steps import Rank, Step

PATH, ADDRESS = "cubes/c/tables/t", "cube/c/table/t"
FEW = 2000


def row(number: int) -> bytes:
    return number.to_bytes(4, "little")


def table(rows: dict[bytes, bytes]) -> TableRecord:
    return TableRecord("c", "t", PATH, (maps.HASH, 4, 4, 4096, 0), rows, b"\xff" * 4, staged=True)


@pytest.fixture
def kernel(monkeypatch) -> dict[bytes, bytes]:
    rows: dict[bytes, bytes] = {}
    monkeypatch.setattr(maps, "info", lambda _: SimpleNamespace(spec=None))
    monkeypatch.setattr(maps, "lookup", lambda _fd, _spec, key: rows.get(key))
    return rows


def after(before: dict[bytes, bytes], wanted: dict[bytes, bytes], *steps: tuple[Rank, Any]) -> dict[bytes, bytes]:
    root: Any = SimpleNamespace(open_pin=lambda _: os.open(os.devnull, os.O_RDONLY))
    made = [Step(rank, ADDRESS, "write", "configuration", operation) for rank, operation in steps]
    return rows_after(root, [table(before)], made, {ADDRESS: table(wanted)})[PATH]


def test_rows_that_go_last_count_as_gone_and_nothing_is_copied(kernel):
    before = RowDelta({row(number): row(number) for number in range(FEW)})
    wanted = row_delta(before, [row(1)], {row(FEW): row(7), row(2): row(8)})
    kernel |= {**before, row(FEW): row(7), row(2): row(8)}  # row 1 is there yet
    writes = Rank.POPULATE, WriteRows(PATH, {row(FEW): row(7), row(2): row(8)}, b"\xff" * 4)
    assert after(before, wanted, writes, (Rank.RETIRE, DeleteRows(PATH, (row(1),)))) is wanted


@pytest.mark.parametrize("rank", [Rank.ROWS, Rank.RETIRE])
def test_what_is_not_as_wanted_is_found(kernel, rank):
    before = RowDelta({row(number): row(number) for number in range(FEW)})
    wanted = row_delta(before, [row(1)], {row(2): row(8)})
    kernel |= before  # nothing was done
    found = after(before, wanted, (Rank.POPULATE, WriteRows(PATH, {row(2): row(8)}, b"\xff" * 4)), (rank, DeleteRows(PATH, (row(1),))))
    assert found == before
    assert found != wanted


def test_a_row_that_was_to_go_before_packets_come_and_is_there_is_found(kernel):
    before = RowDelta({row(number): row(number) for number in range(FEW)})
    wanted = row_delta(before, [row(1)], {})
    kernel |= before
    assert after(before, wanted, (Rank.ROWS, DeleteRows(PATH, (row(1),)))) != wanted
