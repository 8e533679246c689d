"""The IPv4 lookup tree (bpf/router/fib.h), built from prefixes.

Blocks and next hops are numbered (numbers.py), and one that packets may be reading is never written. So an edit costs the
blocks from its prefix up to the root, whatever the number of routes, and replaced blocks are freed once no packet can read
them any more.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import itemgetter

from cubes.lib.layout import number
from cubes.router.numbers import LEAST, Numbers, Prefix, entries_for, keyed, numbered, root_of, root_rows

DEEPER = 0x80000000  # FIB_DEEPER in bpf/router/fib.h


@dataclass(slots=True)
class Tree:
    """Rows by number; `root` is a slot, `entries` how many rows each of the tables has."""

    root: int = 0
    blocks: dict[int, bytes] = field(default_factory=dict)
    ways: dict[int, bytes] = field(default_factory=dict)
    entries: int = LEAST

    def find(self, address: bytes) -> bytes | None:
        """The next hop of a packet to this address, as the program finds it."""
        slot = self.root
        for byte in address:
            if not slot & DEEPER:
                break
            block = self.blocks.get(slot & ~DEEPER)
            if block is None:
                return None
            slot = number(block[4 * byte : 4 * byte + 4])
        return self.ways.get(slot) if slot else None


@dataclass(frozen=True, slots=True)
class _Branch:
    """Everything below one value of the first byte: its input prefixes, slot and blocks. `default` is the route around it."""

    default: int
    prefixes: list[Prefix]
    ways: frozenset[tuple[bytes, int]]
    slot: int
    blocks: Mapping[int, bytes]


Branches = dict[int, _Branch]


def grow(prefixes: Iterable[Prefix], live: Tree, known: Branches | None = None) -> Tree:
    """The tree of these prefixes, reusing the numbers of `live` where possible. `known`: branches built before, reused if
    their input is the same and they are live; it then holds those of this tree."""
    ways, blocks = Numbers(live.ways), Numbers(live.blocks)
    short, long = _sorted(prefixes)
    slots = {way: ways.of(way) for way in sorted({way for each in (short, *long.values()) for _, _, way in each})}
    top = array("I", (0,)) * 256
    for length, address, way in short:
        _fill(top, 0, length, address, slots[way])
    made: Branches = {}
    for first, each in sorted(long.items()):
        branch = (known or {}).get(first)
        if branch is None or not _stands(branch, top[first], each, slots, live):
            branch = _branch(top[first], each, slots, blocks)
        else:
            blocks.used |= branch.blocks
        made[first] = branch
        top[first] = branch.slot
    if known is not None:
        known.clear()
        known |= made
    root = _slot(top, blocks)
    entries = entries_for((*blocks.used, *ways.used), live.entries)
    return Tree(root, blocks.used, ways.used, entries)


def _sorted(prefixes: Iterable[Prefix]) -> tuple[list[Prefix], dict[int, list[Prefix]]]:
    """By length, so that a longer prefix is written over a shorter one: those that end in the first byte, and others by it."""
    long: defaultdict[int, list[Prefix]] = defaultdict(list)
    short = []
    for prefix in sorted(prefixes, key=itemgetter(0)):
        if prefix[0] > 8:
            long[prefix[1][0]].append(prefix)
        else:
            short.append(prefix)
    return short, long


def _stands(branch: _Branch, default: int, prefixes: list[Prefix], slots: Mapping[bytes, int], live: Tree) -> bool:
    """Whether a branch results from these prefixes, and its blocks are live."""
    same = branch.default == default and branch.prefixes == prefixes and all(slots[way] == slot for way, slot in branch.ways)
    return same and branch.blocks.items() <= live.blocks.items()


def _branch(default: int, prefixes: list[Prefix], slots: Mapping[bytes, int], blocks: Numbers) -> _Branch:
    levels = _filled(default, prefixes, slots)
    own: dict[int, bytes] = {}
    slot = default
    for level in (3, 2, 1):
        for path, block in sorted(levels[level].items()):
            slot = _slot(block, blocks)
            if slot & DEEPER:
                own[slot & ~DEEPER] = blocks.used[slot & ~DEEPER]
            if level > 1:
                levels[level - 1][path[:-1]][path[-1]] = slot
    ways = frozenset((way, slots[way]) for _, _, way in prefixes)
    return _Branch(default, prefixes, ways, slot, own)


def _slot(block: array[int], blocks: Numbers) -> int:
    """What points to a block; one that states the same everywhere takes none."""
    first, content = block[0], block.tobytes()
    if first == block[255] and not first & DEEPER and content == content[:4] * 256:
        return first
    return DEEPER | blocks.of(content)


def _filled(default: int, prefixes: Iterable[Prefix], slots: Mapping[bytes, int]) -> list[dict[bytes, array[int]]]:
    """The blocks below a root slot, by level and by the bytes of the address that select them. A block starts with the value
    of its prefix in its parent; prefixes are processed by length, so the parent is complete by then."""
    levels: list[dict[bytes, array[int]]] = [{}, {}, {}, {}]
    for length, address, way in prefixes:
        level = (length - 1) // 8
        block = levels[level].get(address[:level]) or _block(levels, address[:level], default)
        _fill(block, level, length, address, slots[way])
    return levels


def _fill(block: array[int], level: int, length: int, address: bytes, slot: int) -> None:
    at, span = address[level], 1 << 8 * level + 8 - length
    if span == 1:
        block[at] = slot
    else:
        block[at : at + span] = array("I", (slot,)) * span


def _block(levels: list[dict[bytes, array[int]]], path: bytes, default: int) -> array[int]:
    """A new block, and those above it that are not there yet."""
    if len(path) > 1:
        above = levels[len(path) - 1].get(path[:-1]) or _block(levels, path[:-1], default)
        default = above[path[-1]]
    block = levels[len(path)][path] = array("I", (default,)) * 256
    return block


def rows_of(tree: Tree) -> dict[str, dict[bytes, bytes]]:
    """The tables' rows. Without any prefix there are none."""
    root = root_rows(tree.root, tree.entries) if tree.ways else {}
    return {"fib4_blocks": keyed(tree.blocks), "fib4_ways": keyed(tree.ways), "fib4_root": root}


def tree_of(rows: Mapping[str, Mapping[bytes, bytes]]) -> Tree:
    """The tree that tables hold."""
    root, entries = root_of(rows.get("fib4_root", {}))
    return Tree(root, numbered(rows.get("fib4_blocks", {})), numbered(rows.get("fib4_ways", {})), entries)
