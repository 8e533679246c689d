"""The keys of a rule's cells: which bits of a packet form the key, on one of several grids.

A tuple is a set of bits that rules match on: so many of the source address, of the destination, of each port, and whether the
protocol. A search does one look-up per tuple, so there should be few; and one per cell of a key, so cells of a key should be
few too. A grid rounds lengths down, which trades one for the other; the best grid depends on the rules. The cell itself
matches the bits that the key omits (bpf/lib/classify.h), so a grid affects speed only.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from cubes.firewall.rules import Rule
from cubes.firewall.values import Prefix
from cubes.lib.address_sets import to_word
from cubes.lib.ranges import FULL, Span, mask16, pieces
from cubes.lib.stations import SMAC_TUPLE, is_in_key, mixed, packed
from reconciler.service.sdk import memoised

KEY = {4: struct.Struct("=II4s4sIHBB"), 6: struct.Struct("=II16s16sIHBB")}
CONDITIONS = struct.Struct("=Q4HIIBBBBBB2sI4s")  # struct conditions without its label
LABEL = struct.Struct("=Q")
TUPLE = {4: struct.Struct("=QIIIIII"), 6: struct.Struct("=QII16s16sII")}
WIDTH = {4: 32, 6: 128}
NOWHERE = 0xFFFFFFFF  # index of a netdev that there is none of


@dataclass(frozen=True, slots=True)
class Grid:
    """`step`: prefix lengths are rounded down to a multiple of it, except those of host addresses. `split`: port ranges are
    split into prefixes exactly; else into at most a few that contain them, and the cell matches the range. `sets`: the sets
    that a rule names are part of its tuple, which costs nothing if the packet is not in them; and so is its MAC. `is_other`:
    the same grid with other keys, for an edit after which deleted cells would crowd the keys of the new ones (crowding.py)."""

    step: int
    split: bool
    sets: bool = True
    is_other: bool = False


_GRIDS = (
    *(Grid(step, split) for split in (False, True) for step in (1, 4, 8, 16, 32)),
    *(Grid(step, False, sets=False) for step in (1, 16)),
)
GRIDS = (*_GRIDS, *(replace(grid, is_other=True) for grid in _GRIDS))
"""By the number that is kept in the version's `layout`."""


def other_grid(number: int) -> int:
    """The number of the same grid with other keys."""
    return (number + len(_GRIDS)) % len(GRIDS)


_OTHER = 28  # bit of a tuple's number, above what `TupleSpace` says


@dataclass(frozen=True, slots=True)
class TupleSpace:
    """A tuple by its lengths in bits; `number` is what the programs know it by."""

    chain: int
    src: int
    dst: int
    sport: int
    dport: int
    proto: bool

    @property
    def number(self) -> int:
        return ((((self.chain << 8 | self.src) << 8 | self.dst) << 5 | self.sport) << 5 | self.dport) << 1 | self.proto


def space_of(number: int) -> TupleSpace:
    return TupleSpace(
        number >> 27 & 1, number >> 19 & 255, number >> 11 & 255, number >> 6 & 31, number >> 1 & 31, bool(number & 1)
    )


NUMBER = struct.Struct("=II")
"""With what the keys of a tuple begin: its lengths as a number, and the sets that it asks for."""


@dataclass(frozen=True)
class Numbers:
    """The kernel's numbers of names in rules: indices of netdevs, and of sets."""

    netdevs: Mapping[str, int]
    sets: Mapping[str, int]

    def __hash__(self) -> int:
        return hash((frozenset(self.netdevs.items()), frozenset(self.sets.items())))

    def agrees_with(self, other: Numbers) -> bool:
        """Whether the netdevs are the same, and no set that both know has another number."""
        return self.netdevs == other.netdevs and all(self.sets.get(name, own) == own for name, own in other.sets.items())


def tuple_row(begin: bytes, family: int, best: int) -> bytes:
    number, sets = NUMBER.unpack(begin)
    space, width = space_of(number), WIDTH[family]
    src, dst = (_mask(length, width) for length in (space.src, space.dst))
    ports = mask16(space.sport) << 16 | mask16(space.dport)
    if family == 4:
        native = (int.from_bytes(mask.to_bytes(4, "big"), sys.byteorder) for mask in (src, dst))
        return TUPLE[4].pack(best, number, ports, *native, 255 * space.proto, sets)
    return TUPLE[6].pack(best, number, ports, src.to_bytes(16, "big"), dst.to_bytes(16, "big"), 255 * space.proto, sets)


def _mask(length: int, width: int) -> int:
    return ((1 << width) - 1) ^ ((1 << (width - length)) - 1)


def _mask_bytes(length: int, width: int) -> bytes:
    return _mask(length, width).to_bytes(width // 8, "big")


# -- a rule's keys ----------------------------------------------------------------------------------------------------


def rounded(length: int, step: int, width: int) -> int:
    return length if length == width else length - length % step


def keys(rule: Rule, family: int, grid: Grid, sets: Mapping[str, int]) -> tuple[bytes, ...]:
    """The keys, each with seat 0, of the cells that a rule has in a family."""
    asks = grid.sets and (rule.src_set or rule.dst_set or is_in_key(rule.smac))
    return _known_keys(rule, family, grid, _asked_of_a_tuple(rule, sets) if asks else 0)


def _asked_of_a_tuple(rule: Rule, sets: Mapping[str, int]) -> int:
    return to_word(rule.src_set, rule.dst_set, sets) | (SMAC_TUPLE if is_in_key(rule.smac) else 0)


@memoised
def _known_keys(rule: Rule, family: int, grid: Grid, sets: int) -> tuple[bytes, ...]:
    return tuple(_keys(rule, family, grid, sets))


def _keys(rule: Rule, family: int, grid: Grid, sets: int) -> Iterator[bytes]:
    width = WIDTH[family]
    src, src_length = _rounded(rule.src, grid.step, width)
    dst, dst_length = _rounded(rule.dst, grid.step, width)
    proto = rule.proto or 0
    head = (rule.chain << 8 | src_length) << 8 | dst_length
    other, smac = grid.is_other << _OTHER, mixed(rule.smac) if sets & SMAC_TUPLE else 0
    has_proto = rule.proto is not None
    pack = KEY[family].pack
    for sport, sport_length in pieces(rule.sport, grid.split) if rule.sport else _ANY:
        for dport, dport_length in pieces(rule.dport, grid.split) if rule.dport else _ANY:
            number = ((head << 5 | sport_length) << 5 | dport_length) << 1 | has_proto
            yield pack(number | other, sets, src, dst, (sport << 16 | dport) ^ smac, 0, proto, 0)


_ANY = ((0, 0),)


def _rounded(found: Prefix | None, step: int, width: int) -> tuple[bytes, int]:
    if found is None:
        return bytes(width // 8), 0
    length = rounded(found.length, step, width)
    if length == width:
        return found.raw, length
    return (found.value & _mask(length, width)).to_bytes(width // 8, "big"), length


# -- what a cell says -------------------------------------------------------------------------------------------------


def conditions(rule: Rule, family: int, numbers: Numbers) -> bytes:
    """A cell without its label and lifetime."""
    device = numbers.netdevs.get(rule.device, NOWHERE) if rule.device else 0
    return _conditions(rule, family, device, to_word(rule.src_set, rule.dst_set, numbers.sets))


@memoised
def _conditions(rule: Rule, family: int, device: int, sets: int) -> bytes:
    asks_smac, smac_high, smac_low = packed(rule.smac)
    asked = CONDITIONS.pack(
        rule.identity, *(rule.sport or FULL), *(rule.dport or FULL), device, rule.limit, *rule.flags, rule.states, rule.action,
        rule.sport is not None or rule.dport is not None, asks_smac, smac_high, sets, smac_low,
    )  # fmt: skip
    return asked + _masked(rule.src, family) + _masked(rule.dst, family)


def _masked(found: Prefix | None, family: int) -> bytes:
    width = WIDTH[family]
    if found is None:
        return bytes(width // 4)
    return found.raw + _mask_bytes(found.length, width)


def covers(first: Rule, second: Rule) -> bool:
    """Whether `second`, which comes later, never decides anything because of `first`."""
    return first.decides and matches_all_of(first, second)


def matches_all_of(first: Rule, second: Rule) -> bool:
    """Whether each packet that `second` matches is one of `first`, too."""
    if first.texts or second.texts:
        return all(any(matches_all_of(one, other) for one in first.alternatives) for other in second.alternatives)
    return (
        first.chain == second.chain
        and (first.proto is None or first.proto == second.proto)
        and _contains(first.src, second.src)
        and _contains(first.dst, second.dst)
        and _spans(first.sport, second.sport)
        and _spans(first.dport, second.dport)
        and not first.flags[0] & ~second.flags[0]
        and not (first.flags[1] ^ second.flags[1]) & first.flags[0]
        and (not first.states or (second.states != 0 and not second.states & ~first.states))
        and (not first.device or first.device == second.device)
        and (not first.smac or first.smac == second.smac)
        and (not first.src_set or first.src_set == second.src_set)
        and (not first.dst_set or first.dst_set == second.dst_set)
        and set(second.families) <= set(first.families)
    )


def _contains(outer: Prefix | None, inner: Prefix | None) -> bool:
    if outer is None:
        return True
    if inner is None or inner.family != outer.family or inner.length < outer.length:
        return False
    return not (outer.value ^ inner.value) & _mask(outer.length, outer.width)


def _spans(outer: Span | None, inner: Span | None) -> bool:
    return outer is None or (inner is not None and outer[0] <= inner[0] and inner[1] <= outer[1])
