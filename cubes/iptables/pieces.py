"""The pieces of an inlined rule in the lookup tables, each with its keys and its cell.

A rule has a piece for each pair of port ranges and netdevs that it matches; all have the same action, so it does not matter
which is found.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cubes.iptables.layout import Laid
from cubes.iptables.match import WIDTH, Address, Match
from cubes.lib.address_sets import to_word
from cubes.lib.epochs import INDEX
from cubes.lib.ranges import Span, mask16, pieces
from cubes.lib.selection import Selection, rounded
from cubes.lib.selection import select as choose
from reconciler.service.sdk import memoised, recent

_CONDITIONS = struct.Struct("=QQ16s16s16s16s4HII8B")  # struct conditions without its label
KEY = struct.Struct("=I16s16sIHBB")
LABEL = struct.Struct("=Q")
_TUPLE = struct.Struct("=QII16s16sII")
GRIDS = tuple((step, split) for split in (False, True) for step in (1, 4, 8, 16, 32, 128))
"""By the number that is kept in the version."""
SRC, DST, IN, OUT = 1, 2, 4, 8  # of `inverted`
NOWHERE = 0xFFFFFFFF  # index of a netdev that there is none of
_NONE = bytes(16)

Mask = tuple[int, bytes, bytes, int, int, int]
"""A tuple: its chain, the masks of addresses and ports, the protocol's, and the sets that its rules ask for."""


@dataclass(frozen=True, slots=True)
class Device:
    """Index of a netdev, 0 for any; `inverted`: any but that one."""

    index: int = 0
    inverted: bool = False


@dataclass(frozen=True, slots=True)
class Piece:
    """`order` is the rule's place in its chain, `skip` the place of the last rule that it omits, if it is a RETURN."""

    identity: int
    order: int
    skip: int
    action: int
    limited: bool
    match: Match
    sport: Span
    dport: Span
    device_in: Device
    device_out: Device
    sets: int = 0

    def __hash__(self) -> int:
        return hash((self.identity, self.order, self.sport, self.dport, self.device_in))


def pieces_of(rules: Sequence[Laid], netdevs: Mapping[str, int], numbers: Mapping[str, int]) -> Iterator[Piece]:
    """All pieces of a chain, in order. `netdevs`: the indexes of those there are; `numbers`: of the sets."""
    for order, laid in enumerate(rules):
        for match in laid.matches:
            sets = to_word(match.src_set, match.dst_set, numbers)
            for device_in in devices(match.ins, netdevs):
                for device_out in devices(match.outs, netdevs):
                    for sport in match.sports:
                        for dport in match.dports:
                            yield Piece(laid.identity, order, laid.skip, laid.rule.verdict, bool(laid.rule.leaf("limit")),
                                        match, sport, dport, device_in, device_out, sets)  # fmt: skip


def devices(names: Sequence[str], netdevs: Mapping[str, int]) -> list[Device]:
    """What all of these names request together."""
    if not names:
        return [Device()]
    if len(names) == 1 and not names[0].endswith("+"):
        return [Device(netdevs.get(names[0].removeprefix("!"), NOWHERE), names[0].startswith("!"))]
    found = [Device(index) for name, index in sorted(netdevs.items()) if all(_is_named(name, word) for word in names)]
    return found or [Device(NOWHERE)]


def _is_named(name: str, word: str) -> bool:
    wanted = word.removeprefix("!")
    hit = name.startswith(wanted[:-1]) if wanted.endswith("+") else name == wanted
    return hit != word.startswith("!")


# -- keys -------------------------------------------------------------------------------------------------------------


@recent
def select(some: tuple[Piece, ...], chain: int, before: int | None) -> Selection[Piece, Mask]:
    """The pieces of a chain on the grid that suits them. Raises ValueError if none will do."""
    return choose(some, before, lambda piece, number: _keys(piece, chain, *GRIDS[number]), len(GRIDS), "packet")


def _keys(piece: Piece, chain: int, step: int, split: bool) -> Iterator[tuple[bytes, Mask]]:
    match = piece.match
    src, src_mask = _coarse(match.src, step)
    dst, dst_mask = _coarse(match.dst, step)
    for sport, sport_length in pieces(piece.sport, split):
        for dport, dport_length in pieces(piece.dport, split):
            ports = mask16(sport_length) << 16 | mask16(dport_length)
            mask = (chain, src_mask, dst_mask, ports, 0 if match.proto is None else 255, piece.sets)
            yield KEY.pack(_space(mask), src, dst, sport << 16 | dport, 0, match.proto or 0, 0), mask


@memoised
def _coarse(address: Address | None, step: int) -> tuple[bytes, bytes]:
    """An address's bits and mask, as far as they are in the key; a negated address is matched by the cell alone."""
    if address is None or address.inverted:
        return _NONE, _NONE
    mask = rounded(_MASKS[address.length], step)
    return (address.value & int.from_bytes(mask, "big")).to_bytes(16, "big"), mask


_MASKS = tuple(((1 << WIDTH) - (1 << (WIDTH - length))).to_bytes(16, "big") for length in range(WIDTH + 1))


@memoised
def _space(mask: Mask) -> int:
    """A tuple's number."""
    chain, src, dst, ports, proto, sets = mask
    text = bytes([chain, proto]) + src + dst + INDEX.pack(ports) + (INDEX.pack(sets) if sets else b"")
    return int.from_bytes(hashlib.blake2b(text, digest_size=4).digest(), "little")


def tuple_rows(chosen: Selection[Piece, Mask], labels: Sequence[int]) -> list[bytes]:
    """The tuples, the one with the first rule first. `labels` by place in the chain."""
    return [_tuple_row(*each) for each in chosen.ranked(lambda piece: labels[piece.order])]


def _tuple_row(label: int, space: int, mask: Mask) -> bytes:
    _, src, dst, ports, proto, sets = mask
    return _TUPLE.pack(label, space, ports, src, dst, proto, sets)


# -- cells ------------------------------------------------------------------------------------------------------------


def cell(piece: Piece, labels: Sequence[int]) -> bytes:
    """The content of a cell, without its owner and lifetime."""
    skip = labels[piece.skip] if piece.skip >= 0 else 0
    return LABEL.pack(labels[piece.order]) + _conditions(piece, skip)


@memoised
def _conditions(piece: Piece, skip: int) -> bytes:
    match = piece.match
    inverted = (SRC if match.src and match.src.inverted else 0) | (DST if match.dst and match.dst.inverted else 0)
    inverted |= (IN if piece.device_in.inverted else 0) | (OUT if piece.device_out.inverted else 0)
    return _CONDITIONS.pack(
        piece.identity, skip, *_bits(match.src), *_bits(match.dst), *piece.sport, *piece.dport, piece.device_in.index,
        piece.device_out.index, *match.flags, match.states, piece.action, inverted, match.needs_ports, _family(match),
        piece.limited,
    )  # fmt: skip


def _bits(address: Address | None) -> tuple[bytes, bytes]:
    return (_NONE, _NONE) if address is None else (address.value.to_bytes(16, "big"), _MASKS[address.length])


def _family(match: Match) -> int:
    """What an inverted address requests; 0 for any. Others have it in their bits."""
    wanted = {address.family for address in (match.src, match.dst) if address is not None and address.inverted}
    return wanted.pop() if wanted else 0
