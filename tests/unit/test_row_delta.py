"""Rows that know what they were made from are compared as if they did not."""
from __future__ import annotations

import random

from reconciler.graph.diff import diff_rows
from reconciler.graph.records import TableRecord
from reconciler.incremental.row_delta import RowDelta, marked, may_differ, row_delta

SPEC = (1, 4, 4, 100, 0)


def row(number: int) -> bytes:
    return number.to_bytes(4, "little")


def table(rows: dict[bytes, bytes]) -> TableRecord:
    return TableRecord("c", "t", "cubes/c/tables/t", SPEC, rows)


def test_a_difference_is_the_one_that_a_look_at_all_rows_finds() -> None:
    chance = random.Random(2)
    rows: dict[bytes, bytes] = {row(number): row(number) for number in range(60)}
    for _ in range(300):
        gone = chance.sample([*rows, row(999)], chance.randint(0, 3))
        more = {row(chance.randrange(80)): row(chance.randrange(3)) for _ in range(chance.randint(0, 3))}
        new = row_delta(rows, gone, more)
        plain = {key: value for key, value in rows.items() if key not in gone} | more
        assert dict(new) == plain
        keys = may_differ(rows, new)
        assert keys is not None
        assert set(keys) == {key for key in rows.keys() | new.keys() if rows.get(key) != new.get(key)}
        quick, slow = diff_rows(table(new), table(rows)), diff_rows(table(plain), table(dict(rows)))
        assert quick.write == slow.write
        assert sorted(quick.delete) == sorted(slow.delete)
        assert dict(quick.before) == dict(slow.before)
        back = diff_rows(table(rows), table(new))
        assert {**{key: new[key] for key in new if key not in back.delete}, **back.write} == rows
        assert (new == rows) == (plain == rows) == (rows == new)
        assert (new != rows) == (plain != rows)
        rows = new


def test_only_the_last_edit_remembers_rows_without_a_mark() -> None:
    plain = {b"a": b"1"}
    first = row_delta(plain, (), {b"b": b"2"})
    second = row_delta(first, [b"a"], {})
    assert isinstance(first, RowDelta)
    assert first.source is None
    assert second.source is plain
    assert may_differ(plain, second) == {b"a", b"b"}
    assert may_differ(first, second) == {b"a"}
    assert may_differ(first, {b"a": b"1"}) is None
    assert first == {b"a": b"1", b"b": b"2"}
    assert first != {b"a": b"1"}
    assert second == {b"b": b"2"}


def test_two_that_were_made_of_the_same_differ_at_most_where_one_of_them_does() -> None:
    rows = {row(number): row(number) for number in range(60)}
    one, other = row_delta(rows, [row(1)], {row(2): row(9)}), row_delta(rows, [row(3)], {row(2): row(9)})
    assert set(may_differ(one, other) or ()) == {row(1), row(2), row(3)}
    assert one != other
    assert one == row_delta(rows, [row(1)], {row(2): row(9)})


def test_edits_of_two_that_were_compared_are_compared_by_their_edits() -> None:
    """What is wanted, and what was read of a table: both are edited, and neither was made from the other."""
    rows = {row(number): row(number) for number in range(2000)}
    wanted, read = marked(dict(rows)), marked(dict(rows))
    assert may_differ(wanted, read) is None
    assert wanted == read
    assert may_differ(wanted, read) == frozenset()
    for number in range(20):
        wanted, read = (row_delta(each, [row(number)], {row(number + 50): row(7)}) for each in (wanted, read))
        assert set(may_differ(wanted, read) or ()) == {row(number), row(number + 50)}
        assert wanted == read
        assert wanted != row_delta(read, (), {row(1999): row(1)})


def test_what_a_comparison_found_is_not_looked_for_again() -> None:
    rows = {row(number): row(number) for number in range(2000)}
    wanted, read = marked(dict(rows)), row_delta(dict(rows), [row(3)], {row(5): row(6)})
    first = diff_rows(table(dict(wanted)), table(dict(read)))
    assert diff_rows(table(wanted), table(read)).write == first.write
    assert set(may_differ(read, wanted) or ()) == {row(3), row(5)}
    assert diff_rows(table(wanted), table(read)).write == first.write
