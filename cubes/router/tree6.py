"""The IPv6 lookup tree (bpf/router/fib6.h), built from prefixes.

As in IPv4's (tree.py), rows that packets may be reading are never written, and an edit costs the rows on the path to its
prefix. Where only one prefix is left, or all that are left share a beginning, one row tests for that beginning in place of a
series of nodes with a single child (path compression).
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter

from cubes.lib.layout import number
from cubes.router.numbers import LEAST, Numbers, Prefix, entries_for, keyed, numbered, root_of, root_rows

NODE, TEST, AT, NUMBER = 0x80000000, 0x40000000, 25, 0x01FFFFFF  # as in bpf/router/fib6.h
_TEST = struct.Struct("=QQIIBBB5x")  # struct fib6_test
_SLOT = struct.Struct("=I")
HALF = 0xFFFFFFFFFFFFFFFF
STEPS = 32  # each but the last goes on by a digit of the address, or more
FEW, MANY = 64, 2048  # prefixes of a branch, which is kept from one plan to the next


@dataclass(slots=True)
class Tree6:
    """Rows by number; `root` is a slot, `entries` how many rows each of the tables has."""

    root: int = 0
    nodes: dict[int, bytes] = field(default_factory=dict)
    tests: dict[int, bytes] = field(default_factory=dict)
    ways: dict[int, bytes] = field(default_factory=dict)
    entries: int = LEAST

    def find(self, address: bytes) -> bytes | None:
        """The next hop of a packet to this address (16 bytes), as the program finds it."""
        value, slot = int.from_bytes(address, "big"), self.root
        for _ in range(STEPS):
            if slot & NODE:
                digit = value >> 124 - 4 * (slot >> AT & 31) & 15
                slot = number(self.nodes.get(slot & NUMBER, bytes(64))[4 * digit : 4 * digit + 4])
            elif slot & TEST:
                high, low, inside, outside, above, below, no_low = _TEST.unpack(self.tests.get(slot & NUMBER, bytes(_TEST.size)))
                differs = (value >> 64 ^ high) >> above | (value & HALF ^ low) >> below >> no_low
                slot = outside if differs else inside
            else:
                break
        return self.ways.get(slot) if slot else None


@dataclass(frozen=True, slots=True)
class _Branch:
    """All prefixes with one beginning: its input prefixes, slot and rows. `default` is the route around it."""

    default: int
    prefixes: Sequence[Prefix]
    ways: frozenset[tuple[bytes, int]]
    slot: int
    nodes: Mapping[int, bytes]
    tests: Mapping[int, bytes]


Branches6 = dict[tuple[int, int], _Branch]
"""By the number of digits that they begin with, and these."""


def grow6(prefixes: Iterable[Prefix], live: Tree6, known: Branches6 | None = None) -> Tree6:
    """The tree of these prefixes, reusing the numbers of `live` where possible. `known`: branches built before, reused if
    their input is the same and they are live; it then holds those of this tree."""
    growing = _Growing(prefixes, live, known or {})
    every = growing.prefixes
    first = 1 if every and every[0][0] == 0 else 0  # of length 0: what lies around all others
    root = growing.below(first, len(every), 0, growing.slots[every[0][2]] if first else 0)
    if known is not None:
        known.clear()
        known |= growing.made
    nodes, tests, ways = growing.nodes.used, growing.tests.used, growing.ways.used
    return Tree6(root, nodes, tests, ways, entries_for((*nodes, *tests, *ways), live.entries))


class _Growing:
    def __init__(self, prefixes: Iterable[Prefix], live: Tree6, known: Branches6) -> None:
        self.prefixes = sorted(prefixes, key=itemgetter(1, 0))  # one that contains others comes before them
        self.values = [int.from_bytes(address, "big") for _, address, _ in self.prefixes]
        self.live, self.known = live, known
        self.made: Branches6 = {}
        self.nodes, self.tests, self.ways = Numbers(live.nodes), Numbers(live.tests), Numbers(live.ways)
        self.slots = {way: self.ways.of(way) for way in sorted({way for _, _, way in self.prefixes})}

    def below(self, first: int, end: int, depth: int, default: int, *, branch: bool = True) -> int:
        """The slot of these prefixes, which have `depth` digits in common and end behind them."""
        if first == end:
            return default
        length, _, way = self.prefixes[first]
        start = self.values[first]
        if end - first == 1:
            return self._test(start, length, self.slots[way], default)
        if branch and FEW <= end - first <= MANY:
            return self._branch(first, end, depth, default)
        differ = (start ^ self.values[end - 1]).bit_length()
        common = min((128 - differ) // 4, (length - 1) // 4)  # the shortest of those that bound it comes first
        node = self._node(first, end, common, default, branch=branch)
        return node if common == depth else self._test(start >> 128 - 4 * common << 128 - 4 * common, 4 * common, node, default)

    def _node(self, first: int, end: int, depth: int, default: int, *, branch: bool) -> int:
        """A slot for each value of the digit: first what ends in it, longer prefixes over shorter ones, then what continues."""
        slots, shift = array("I", (default,)) * 16, 124 - 4 * depth
        while first < end:
            digits = self.values[first] >> shift
            digit, last = digits & 15, bisect_left(self.values, digits + 1 << shift, first, end)
            while first < last and self.prefixes[first][0] <= 4 * depth + 4:
                length, _, way = self.prefixes[first]
                span = 1 << 4 * depth + 4 - length
                slots[digit : digit + span] = array("I", (self.slots[way],)) * span
                first += 1
            slots[digit] = self.below(first, last, depth + 1, slots[digit], branch=branch)
            first = last
        if slots.count(slots[0]) == 16 and not slots[0] & (NODE | TEST):
            return slots[0]
        return NODE | depth << AT | self.nodes.of(slots.tobytes())

    def _test(self, start: int, length: int, inside: int, outside: int) -> int:
        if inside == outside:
            return outside
        rest = (64 - length, 63, 1) if length <= 64 else (0, 128 - length, 0)
        row = _TEST.pack(start >> 64, start & HALF, inside, outside, *rest)
        return TEST | self.tests.of(row)

    def _branch(self, first: int, end: int, depth: int, default: int) -> int:
        prefixes, key = self.prefixes[first:end], (depth, self.values[first] >> 128 - 4 * depth)
        found = self.known.get(key)
        if found is None or not self._stands(found, default, prefixes):
            outer = self.nodes.used, self.tests.used
            self.nodes.used, self.tests.used = {}, {}
            slot = self.below(first, end, depth, default, branch=False)
            ways = frozenset((way, self.slots[way]) for _, _, way in prefixes)
            found = _Branch(default, prefixes, ways, slot, self.nodes.used, self.tests.used)
            self.nodes.used, self.tests.used = outer
        self.nodes.used |= found.nodes
        self.tests.used |= found.tests
        self.made[key] = found
        return found.slot

    def _stands(self, branch: _Branch, default: int, prefixes: Sequence[Prefix]) -> bool:
        """Whether a branch results from these prefixes, and its rows are live."""
        same, live = branch.default == default and branch.prefixes == prefixes, self.live
        same = same and all(self.slots[way] == slot for way, slot in branch.ways)
        return same and branch.nodes.items() <= live.nodes.items() and branch.tests.items() <= live.tests.items()


def rows_of6(tree: Tree6) -> dict[str, dict[bytes, bytes]]:
    """The tables' rows. Without any prefix there are none."""
    root = root_rows(tree.root, tree.entries) if tree.ways else {}
    return {"fib6_nodes": keyed(tree.nodes), "fib6_tests": keyed(tree.tests), "fib6_ways": keyed(tree.ways), "fib6_root": root}


def tree6_of(rows: Mapping[str, Mapping[bytes, bytes]]) -> Tree6:
    """The tree that tables hold."""
    root, entries = root_of(rows.get("fib6_root", {}))
    nodes, tests, ways = (numbered(rows.get(name, {})) for name in ("fib6_nodes", "fib6_tests", "fib6_ways"))
    return Tree6(root, nodes, tests, ways, entries)
