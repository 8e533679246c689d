"""The tree of IPv6 prefixes against a model that tries every prefix, and what an edit of it changes."""
from __future__ import annotations

import random

import pytest

from cubes.router.numbers import LEAST
from cubes.router.tree6 import FEW, NODE, TEST, Tree6, grow6, rows_of6, tree6_of

STARTS = (0x20010DB8 << 96, 0x20010DB8_00010002 << 64, 0xFD00 << 112, (1 << 128) - 1, 0)


def way(number):
    return number.to_bytes(4, "big").rjust(24, b"\1")


def model(prefixes, address):
    """The way of the longest prefix that an address is in."""
    value = int.from_bytes(address, "big")
    inside = [(length, row) for length, start, row in prefixes if not (value ^ int.from_bytes(start, "big")) >> (128 - length)]
    return max(inside, default=(0, None), key=lambda found: found[0])[1]


def some(chance, most, spread=128):
    """Prefixes of all lengths, many of them in one another: their first bits come from few."""
    found = {}
    for _ in range(chance.randint(0, most)):
        length = chance.choice((0, 32, 48, 64, 128, *range(129)))
        value = chance.choice(STARTS) ^ chance.getrandbits(chance.randint(1, spread))
        found[length, (value >> (128 - length) << (128 - length)).to_bytes(16, "big")] = way(chance.randint(1, 9))
    return [(*prefix, row) for prefix, row in found.items()]


def targets(chance, prefixes):
    """The first and the last address of each prefix, and those beside it; and some others."""
    for length, start, _ in prefixes:
        first = int.from_bytes(start, "big")
        for value in (first - 1, first, first + (1 << (128 - length)) - 1, first + (1 << (128 - length))):
            yield (value & (1 << 128) - 1).to_bytes(16, "big")
    yield from (chance.randbytes(16) for _ in range(20))


def same(one, other):
    return (one.root, one.nodes, one.tests, one.ways, one.entries) == (other.root, other.nodes, other.tests, other.ways, other.entries)


@pytest.mark.parametrize("seed", range(60))
def test_every_address_goes_where_its_longest_prefix_says(seed):
    chance = random.Random(seed)
    prefixes = some(chance, 200, (16, 64, 128)[seed % 3])
    tree = grow6(prefixes, Tree6())
    for address in targets(chance, prefixes):
        assert tree.find(address) == model(prefixes, address)


def test_prefixes_of_every_length_in_one_another_take_no_more_steps_than_there_are():
    deep = [(length, ((1 << 128) - (1 << 128 - length)).to_bytes(16, "big"), way(length)) for length in range(129)]
    beside = [(length, ((1 << 128) - (1 << 129 - length)).to_bytes(16, "big"), way(length + 200)) for length in range(2, 129)]
    tree = grow6(deep + beside, Tree6())
    for address in targets(random.Random(1), deep + beside):
        assert tree.find(address) == model(deep + beside, address)


@pytest.mark.parametrize("seed", range(20))
def test_edits_leave_each_row_that_is_in_use_as_it_is_and_the_tables_say_the_tree(seed):
    chance = random.Random(seed)
    prefixes, tree, known, kept = some(chance, 4 * FEW), Tree6(), {}, 0
    for _ in range(12):
        before, tree = tree, grow6(prefixes, tree6_of(rows_of6(tree)), known)
        kept += len(known)
        assert same(tree, grow6(prefixes, tree6_of(rows_of6(before)))), "what is kept of the plan before changes the tree"
        for old, new in ((before.nodes, tree.nodes), (before.tests, tree.tests), (before.ways, tree.ways)):
            assert all(new[number] == row for number, row in old.items() if number in new), "it was written where packets are"
        assert all(tree.find(address) == model(prefixes, address) for address in targets(chance, prefixes))
        assert max((0, *tree.nodes, *tree.tests, *tree.ways)) < tree.entries
        prefixes = edited(chance, prefixes)


def edited(chance, prefixes):
    """Some go, some lead elsewhere, some are new."""
    kept = {(length, start): row for length, start, row in prefixes if chance.random() > 0.02}
    kept |= {prefix: way(chance.randint(1, 12)) for prefix in kept if chance.random() < 0.02}
    return [(*prefix, row) for prefix, row in (kept | {(length, start): row for length, start, row in some(chance, 30)}).items()]


def routes(count):
    """Strewn: each in a /32 of its own, nearly."""
    chance = random.Random(1)
    return [(48, (2 << 44 | chance.getrandbits(45)).to_bytes(6, "big") + bytes(10), way(chance.randint(1, 7))) for _ in range(count)]


def test_an_edit_of_one_route_among_many_writes_the_rows_on_its_way_and_nothing_else():
    many = routes(20_000)
    before = grow6(many, Tree6())
    assert len(before.tests) < 1.1 * len(many)
    assert len(before.nodes) < len(many)
    assert same(grow6(reversed(many), before), before)
    after = grow6([*many, (64, many[7][1][:6] + b"\0\1" + bytes(8), way(3))], before, {})
    fresh = [len(new.items() - old.items()) for old, new in ((before.nodes, after.nodes), (before.tests, after.tests))]
    assert 1 <= fresh[0] <= 7
    assert fresh[1] <= 2
    back = grow6(many, after)
    assert back.entries == after.entries == before.entries


def test_a_default_route_takes_no_node_and_nothing_at_all_no_row():
    tree = grow6([(0, bytes(16), way(1))], Tree6())
    assert (tree.nodes, tree.tests, tree.find(b"\1" * 16)) == ({}, {}, way(1))
    assert not any(rows_of6(grow6([], Tree6())).values())


def test_rows_that_lead_nowhere_or_around_are_no_way():
    assert Tree6(NODE | 5).find(bytes(16)) is None
    assert Tree6(TEST | 5).find(bytes(16)) is None
    assert Tree6(NODE | 1, {1: (NODE | 1).to_bytes(4, "little") * 16}, {}, {1: way(1)}).find(bytes(16)) is None
    assert tree6_of({"fib6_root": {b"\1\0\0\0": b"\xff\xff\xff\xff"}}).entries == LEAST


def test_what_somebody_wrote_into_row_0_gets_no_packet_and_no_way_its_number():
    prefixes = [(0, bytes(16), way(1)), (48, b"\x20\1\r\xb8" + bytes(12), way(2)), (64, b"\x20\1\r\xb8" + bytes(12), way(1))]
    tree = grow6(prefixes, Tree6())
    rows = rows_of6(tree)
    for table in ("fib6_nodes", "fib6_tests", "fib6_ways"):
        for row in rows[table].values():
            healed = grow6(prefixes, tree6_of({**rows, table: {**rows[table], bytes(4): row}}))
            assert same(healed, tree)
