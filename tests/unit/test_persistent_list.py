"""What lists know of one another is what a look at all entries would tell."""
from __future__ import annotations

import random
import weakref

from reconciler.document.line_index import LineIndex
from reconciler.incremental.persistent_list import Distinct, PersistentList, Sums, splice, unchanged


def looked_at(old: list, new: list) -> tuple[int, int]:
    shorter = min(len(old), len(new))
    start = next((place for place in range(shorter) if old[place] is not new[place]), shorter)
    rest = next((end for end in range(shorter - start) if old[-1 - end] is not new[-1 - end]), shorter - start)
    return start, rest


def test_two_lists_differ_in_what_was_spliced_whatever_was_spliced_before() -> None:
    chance = random.Random(11)
    objects = [[number] for number in range(6)]  # few, so that what is put in may be what was there
    lists = [PersistentList([chance.choice(objects) for _ in range(40)])]
    for _ in range(400):
        old = chance.choice(lists[-4:])
        start = chance.randint(0, len(old))
        rest = chance.randint(0, len(old) - start)
        between = [chance.choice(objects) for _ in range(chance.randint(0, 3))]
        new = splice(old, start, between, rest)
        assert new == [*old[:start], *between, *old[len(old) - rest :]]
        lists.append(new if len(new) < 60 else PersistentList(new[:40]))
        for other in lists[-6:]:
            assert unchanged(other, lists[-1]) == looked_at(other, lists[-1])
            assert unchanged(lists[-1], other) == looked_at(lists[-1], other)
    assert unchanged(lists[-1], lists[-1]) == (len(lists[-1]), 0)


class Entry:
    pass


def test_a_list_that_was_spliced_keeps_none_alive() -> None:
    old = PersistentList([Entry() for _ in range(40)])
    went, stayed = weakref.ref(old[0]), weakref.ref(old[1])
    new = splice(old, 0, [], 39)
    del old
    assert went() is None
    assert stayed() is new[0]


def test_equal_keys_are_found_where_they_come_and_are_none_once_they_are_gone() -> None:
    chance, distinct = random.Random(5), Distinct(lambda entry: entry["id"])
    entries = PersistentList([{"id": number} for number in range(50)])
    answers = set()
    for number in range(300):
        start = chance.randint(0, len(entries) - 1)
        again = chance.random() < 0.2
        between = [{"id": entries[chance.randrange(len(entries))]["id"] if again else 1000 + number}]
        entries = splice(entries, start, between, len(entries) - start - 1)
        answer = len({entry["id"] for entry in entries}) == len(entries)
        assert distinct.holds(entries) == answer
        answers.add(answer)
    assert answers == {True, False}


def test_a_key_that_is_missing_is_an_error_and_forgotten_afterwards() -> None:
    distinct = Distinct(lambda entry: entry["id"])
    entries = PersistentList([{"id": number} for number in range(50)])
    assert distinct.holds(entries)
    try:
        distinct.holds(splice(entries, 3, [{}], 46))
    except KeyError:
        assert distinct.holds(entries)
    else:
        raise AssertionError("no key, and no error")


def test_lines_after_an_edit_are_those_of_the_longer_text() -> None:
    chance = random.Random(7)
    for count in (8, 600, 3000):
        plain = sorted(chance.sample(range(10 * count), count))
        lines = LineIndex(plain)
        for _ in range(60):
            first = chance.randint(0, len(plain) - 1)
            end = min(len(plain), first + chance.randint(0, 3))
            begin, limit = plain[first], plain[end] if end < len(plain) else plain[-1] + 20
            more = chance.randint(0, 5)
            new = sorted(chance.sample(range(begin, limit + more), min(chance.randint(0, 3), limit + more - begin)))
            if len(plain) - (end - first) + len(new) < 4:
                continue
            lines = lines.spliced(first, end, new, more)
            plain = [*plain[:first], *new, *(line + more for line in plain[end:])]
            assert list(lines) == plain
            assert len(lines) == len(plain)
            for place in (0, len(plain) - 1, chance.randrange(len(plain))):
                assert lines[place] == plain[place]
                for line in (plain[place] - 1, plain[place], plain[place] + 1):
                    assert lines.until(line) == sum(each <= line for each in plain)


def test_sums_of_edited_lists_are_those_of_all_entries() -> None:
    chance, looked_at = random.Random(7), []
    sums = Sums(lambda entry: looked_at.append(entry) or (entry[0], 1))
    entries = PersistentList([[number] for number in range(500)])
    for number in range(200):
        start, gone = chance.randint(0, len(entries) - 3), chance.randint(0, 2)
        new = [[number] for _ in range(chance.randint(0, 2))]
        entries = splice(entries, start, new, len(entries) - start - gone)
        assert sums.of(entries) == (sum(each[0] for each in entries), len(entries))
        assert sums.of([]) == ()
        assert sums.of([[7]]) == (7, 1)
    assert len(looked_at) < 500 + 200 * 6
