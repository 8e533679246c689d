"""What is done for each entry of a list is done again for those alone that are other objects than the last time."""
from __future__ import annotations

import random
import weakref

from reconciler.check.normal import normalise
from reconciler.incremental.entry_memo import EntryMemo
from reconciler.incremental.memo import Node
from reconciler.incremental.persistent_list import unchanged


def test_only_what_is_new_is_worked_on_and_all_comes_out_as_if_everything_were() -> None:
    chance, known, worked = random.Random(3), EntryMemo[str](), list[str]()

    def work(_: int, entry: list[int]) -> str:
        worked.append(str(entry))
        return str(entry)

    entries = [[number] for number in range(200)]
    known.each(entries, work)
    for number in range(300):
        worked.clear()
        at = chance.choice([0, len(entries), chance.randrange(len(entries))])
        entries = [*entries[:at], *([[1000 + number]] * chance.randint(0, 2)), *entries[at + chance.randint(0, 2) :]]
        assert known.each(entries, work) == [str(entry) for entry in entries]
        assert len(worked) <= 2


def test_two_lists_are_known_apart_and_short_ones_are_not_kept() -> None:
    known, worked = EntryMemo[int](), list[int]()
    one, other, short = [[[start + number] for number in range(count)] for start, count in ((0, 50), (100, 50), (200, 5))]
    for entries in (one, other, short, one, other, short):
        assert known.each(entries, lambda _, entry: worked.append(entry[0]) or entry[0]) == [entry[0] for entry in entries]
    assert len(worked) == 50 + 50 + 5 + 5


def test_what_is_unchanged_is_told_by_identity_and_no_entry_twice() -> None:
    a, b = [1], [1]
    assert unchanged([a, a, a], [a, a]) == (2, 0)
    assert unchanged([a, b], [b, b]) == (0, 1)
    assert unchanged([], [a]) == (0, 0)


SCHEMA = Node({"properties": {"service": {"type": "array", "x-yang-key": ["name"], "items": {"properties": {"name": {"type": "string"}, "backend": {
    "type": "array", "x-yang-key": ["ip"], "items": {"properties": {"ip": {"type": "string"}}, "required": ["ip"]}}}, "required": ["name"]}}}})  # fmt: skip


def test_entries_that_have_lists_of_their_own_are_normalised_once_and_equal_keys_in_those_are_told_every_time() -> None:
    services = [{"name": f"s{number}", "backend": [{"ip": f"10.0.0.{at}"} for at in range(3)]} for number in range(100)]
    before, _ = normalise(SCHEMA, {"service": services}, lambda _: None)
    edited = [*services[:40], {"name": "s40", "backend": []}, *services[41:]]
    after, equal = normalise(SCHEMA, {"service": edited}, lambda _: None)
    assert not equal
    assert sum(new is old for new, old in zip(after["service"], before["service"], strict=True)) == 99
    twice = [*services[:40], {"name": "s40", "backend": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.1"}]}, *services[41:]]
    for _ in range(2):
        _, equal = normalise(SCHEMA, {"service": twice}, lambda _: None)
        assert [(each.path, each.key) for each in equal] == [(("service", 40, "backend"), ("10.0.0.1",))]


def test_long_lists_that_are_read_anew_again_and_again_do_not_all_stay() -> None:
    class Entry:
        pass

    known, seen = EntryMemo[int](), []
    for _ in range(6):
        entries = [Entry() for _ in range(30_000)]
        seen.append(weakref.ref(entries[0]))
        known.each(entries, lambda place, _: place)
        del entries
    assert [ref() is not None for ref in seen] == [False, False, False, False, True, True]
