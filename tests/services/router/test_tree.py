"""The tree of IPv4 prefixes against a model that tries every prefix, and what an edit of it changes."""
from __future__ import annotations

import random
import sys

import pytest

from cubes.router.numbers import LEAST, uncovered
from cubes.router.tree import Tree, grow, rows_of, tree_of


def way(number):
    return number.to_bytes(4, "big").rjust(24, b"\1")


def model(prefixes, address):
    """The way of the longest prefix that an address is in."""
    value = int.from_bytes(address, "big")
    inside = [(length, row) for length, start, row in prefixes if not (value ^ int.from_bytes(start, "big")) >> (32 - length)]
    return max(inside, default=(0, None), key=lambda found: found[0])[1]


def some(chance, most, spread=32):
    """Prefixes of all lengths, many of them in one another: their first bits come from few."""
    found = {}
    for _ in range(chance.randint(0, most)):
        length = chance.choice((0, 8, 16, 24, 32, *range(33)))
        value = chance.choice((0x0A000000, 0x0A010000, 0xC0A80100, 0xFFFFFF00, 0)) ^ chance.getrandbits(chance.randint(1, spread))
        found[length, (value >> (32 - length) << (32 - length)).to_bytes(4, "big")] = way(chance.randint(1, 9))
    return [(*prefix, row) for prefix, row in found.items()]


def targets(chance, prefixes):
    """The first and the last address of each prefix, and those beside it; and some others."""
    for length, start, _ in prefixes:
        first = int.from_bytes(start, "big")
        for value in (first - 1, first, first + (1 << (32 - length)) - 1, first + (1 << (32 - length))):
            yield (value & 0xFFFFFFFF).to_bytes(4, "big")
    yield from (chance.randbytes(4) for _ in range(20))


@pytest.mark.parametrize("seed", range(40))
def test_every_address_goes_where_its_longest_prefix_says(seed):
    chance = random.Random(seed)
    prefixes = some(chance, 60, 16 if seed % 2 else 32)
    tree = grow(prefixes, Tree())
    for address in targets(chance, prefixes):
        assert tree.find(address) == model(prefixes, address)


@pytest.mark.parametrize("seed", range(20))
def test_edits_leave_each_block_that_is_in_use_as_it_is_and_the_tables_say_the_tree(seed):
    chance = random.Random(seed)
    prefixes, tree, known = some(chance, 80), Tree(), {}
    for _ in range(25):
        before, tree = tree, grow(prefixes, tree_of(rows_of(tree)), known)
        again = grow(prefixes, tree_of(rows_of(before)))
        assert (tree.root, tree.blocks, tree.ways, tree.entries) == (again.root, again.blocks, again.ways, again.entries)
        for old, new in ((before.blocks, tree.blocks), (before.ways, tree.ways)):
            assert all(new[number] == row for number, row in old.items() if number in new), "it was written where packets are"
        assert all(tree.find(address) == model(prefixes, address) for address in targets(chance, prefixes))
        assert max((0, *tree.blocks, *tree.ways)) < tree.entries
        prefixes = edited(chance, prefixes)


def edited(chance, prefixes):
    """Some go, some lead elsewhere, some are new."""
    kept = {(length, start): row for length, start, row in prefixes if chance.random() > 0.1}
    kept |= {prefix: way(chance.randint(1, 12)) for prefix in kept if chance.random() < 0.1}
    return [(*prefix, row) for prefix, row in (kept | {(length, start): row for length, start, row in some(chance, 8)}).items()]


def routes(count):
    chance = random.Random(1)
    return [(24, (0x14000000 + (number << 8)).to_bytes(4, "big"), way(chance.randint(1, 7))) for number in range(count)]


def test_an_edit_of_one_route_among_many_writes_the_blocks_on_its_way_and_nothing_else():
    many = routes(20_000)
    before = grow(many, Tree())
    again = grow(reversed(many), before)
    assert (again.root, again.blocks, again.ways, again.entries) == (before.root, before.blocks, before.ways, before.entries)
    after = grow([*many, (32, b"\x14\x01\x02\x03", way(3))], before)
    assert len(after.blocks.items() - before.blocks.items()) == 4
    assert len(before.blocks.items() - after.blocks.items()) == 3
    back = grow(many, after)
    assert len(back.blocks.items() - after.blocks.items()) == 3
    assert back.entries == after.entries == before.entries


def test_tables_grow_and_shrink_in_large_steps():
    tree = grow(routes(1), Tree())
    assert tree.entries == LEAST
    tree = grow(routes(256 * 200), Tree())
    assert tree.entries == 256
    few = grow(routes(1), tree)
    assert min(few.blocks) > 200, "numbers that packets are at are not used again at once"
    assert few.entries == 256
    few = grow(routes(2), few)
    assert (max(few.blocks), few.entries) == (3, LEAST)
    assert grow(routes(256 * 40), few).entries == LEAST, "an edit there and back exchanges nothing"


def test_a_default_route_takes_no_block_and_nothing_at_all_no_row():
    tree = grow([(0, bytes(4), way(1))], Tree())
    assert (tree.blocks, tree.find(b"\1\2\3\4")) == ({}, way(1))
    assert not any(rows_of(grow([], Tree())).values())


def test_blocks_that_lead_nowhere_or_around_are_no_way():
    assert Tree(0x80000005).find(b"\1\2\3\4") is None
    assert Tree(0x80000001, {1: b"\1\0\0\x80" * 256}, {1: way(1)}).find(b"\1\2\3\4") is None
    assert tree_of({"fib4_root": {b"\1\0\0\0": b"\xff\xff\xff\xff"}}).entries == LEAST


def test_what_somebody_wrote_into_row_0_gets_no_packet_and_no_way_its_number():
    prefixes = [(0, bytes(4), way(1)), (24, b"\x0a\0\0\0", way(2))]
    tree = grow(prefixes, Tree())
    rows = rows_of(tree)
    for table, number in (("fib4_ways", tree.root), ("fib4_ways", 1), ("fib4_ways", 2), ("fib4_blocks", 1)):
        damaged = {**rows, table: {**rows[table], bytes(4): rows[table].get(number.to_bytes(4, sys.byteorder), bytes(3) + b"\1")}}
        healed = grow(prefixes, tree_of(damaged))
        assert (healed.root, healed.blocks, healed.ways) == (tree.root, tree.blocks, tree.ways)


@pytest.mark.parametrize("seed", range(20))
def test_the_first_address_that_no_longer_prefix_takes_is_found(seed):
    chance = random.Random(seed)
    prefixes = some(chance, 30, 12)
    found = {
        (length - 96, start[12:]): first[12:]
        for (length, start), first in uncovered((length + 96, bytes(12) + start) for length, start, _ in prefixes)
    }
    for length, start, _ in prefixes:
        own = model([(each[0], each[1], each[:2]) for each in prefixes], found.get((length, start), bytes(4)))
        if (length, start) in found:
            assert own == (length, start)
            before = int.from_bytes(found[length, start], "big") - 1
            if before >= int.from_bytes(start, "big"):
                assert model([(*each[:2], each[:2]) for each in prefixes], before.to_bytes(4, "big")) != (length, start)
