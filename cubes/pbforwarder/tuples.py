"""Which bits of a frame form a rule's key, on each of several grids, and the content of its cell.

Grids (cubes/lib/selection.py): address lengths are rounded down; a range of ports is one prefix around it, or, split, the
prefixes that it consists of.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator

from cubes.lib.epochs import INDEX
from cubes.lib.ranges import mask16, pieces
from cubes.lib.selection import Selection, rounded
from cubes.lib.selection import select as choose
from cubes.pbforwarder.rules import Rule
from reconciler.service.sdk import memoised, recent

_CONDITIONS = struct.Struct("=QQHHHHBBBBBBH")  # struct conditions
_KEY = struct.Struct("=I52sHBB")
_TUPLE = struct.Struct("=QII52sBB2x")
_PORTS = slice(32, 36)  # of a vector
GRIDS = tuple((step, split) for split in (False, True) for step in (1, 4, 8, 16, 32, 128))
"""By the number that is kept in the version's `layout`."""

Mask = tuple[bytes, int, int]
"""A tuple: the vector's mask, the protocol's, that of the port of arrival."""


@recent
def select(rules: tuple[Rule, ...], before: int | None) -> Selection[Rule, Mask]:
    """Rules on the grid that suits them (cubes/lib/selection.py). Raises ValueError if none will do."""
    return choose(rules, before, lambda rule, number: _keys(rule, *GRIDS[number]), len(GRIDS), "frame")


@memoised
def _keys(rule: Rule, step: int, split: bool) -> tuple[tuple[bytes, Mask], ...]:
    return tuple(_keys_of(rule, step, split))


def _keys_of(rule: Rule, step: int, split: bool) -> Iterator[tuple[bytes, Mask]]:
    coarse = rounded(rule.mask[:16], step) + rounded(rule.mask[16:32], step)
    for sport, sport_length in pieces(rule.sport, split):
        for dport, dport_length in pieces(rule.dport, split):
            ports = INDEX.pack(mask16(sport_length) << 16 | mask16(dport_length))
            mask = (coarse + ports + rule.mask[36:], 255 if rule.proto else 0, 255 if rule.port >= 0 else 0)
            value = rule.value[:32] + INDEX.pack(sport << 16 | dport) + rule.value[36:]
            yield _KEY.pack(_space(mask), _masked(value, mask[0]), 0, rule.proto, max(rule.port, 0)), mask


def _masked(value: bytes, mask: bytes) -> bytes:
    return (int.from_bytes(value, "big") & int.from_bytes(mask, "big")).to_bytes(len(mask), "big")


@memoised
def _space(mask: Mask) -> int:
    """A tuple's number."""
    return int.from_bytes(hashlib.blake2b(mask[0] + bytes(mask[1:]), digest_size=4).digest(), "little")


def tuple_rows(chosen: Selection[Rule, Mask]) -> list[bytes]:
    """The tuples, the one with the first rule first."""
    return [_tuple_row(*each) for each in chosen.ranked(lambda rule: rule.id + 1)]


def _tuple_row(label: int, space: int, mask: Mask) -> bytes:
    return _TUPLE.pack(label, space, INDEX.unpack(mask[0][_PORTS])[0], *mask)


@memoised
def conditions(rule: Rule) -> bytes:
    """The content of a cell, without its owner and lifetime."""
    asked = _CONDITIONS.pack(
        rule.id + 1, rule.identity, *rule.sport, *rule.dport, rule.needs_ports, rule.proto, 255 if rule.proto else 0,
        max(rule.port, 0), 255 if rule.port >= 0 else 0, rule.action, rule.out_port,
    )  # fmt: skip
    return asked + rule.value + rule.mask
