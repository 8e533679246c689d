"""A rule's match on packets, and the intersection of two.

A user-defined chain is inlined where a rule jumps to it, so each of its rules matches the intersection with that rule, which
mostly is a single match again. If it takes several, `both` returns several, whose union it is.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass, replace

from cubes.lib.ranges import FULL, Span

WIDTH = 128
MAPPED = 0xFFFF << 32
"""IPv4 as ::ffff:a.b.c.d, which is how programs have it; its lengths are then from 96 on."""


@dataclass(frozen=True, slots=True)
class Address:
    """A prefix of 128 bits; `inverted`: all of its family that are not in it. The value's bits beyond the length are none."""

    value: int
    length: int
    inverted: bool = False

    @property
    def family(self) -> int:
        return 4 if self.length >= 96 and self.value >> 32 == MAPPED >> 32 else 6

    def contains(self, other: Address) -> bool:
        """Of prefixes that are not inverted."""
        return other.length >= self.length and not (self.value ^ other.value) >> (WIDTH - self.length)


@dataclass(frozen=True, slots=True)
class Match:
    """No address, protocol or port: any. Of ICMP `sports` are types, `dports` codes. `flags` is (mask, value), `states` a mask, 0
    for any. `ins` and `outs` are names of netdevs, '!' in front of those that it must not be, and all of them are requested. A
    set's name may have a '!' before it, too."""

    src: Address | None = None
    dst: Address | None = None
    proto: int | None = None
    sports: tuple[Span, ...] = (FULL,)
    dports: tuple[Span, ...] = (FULL,)
    flags: tuple[int, int] = (0, 0)
    states: int = 0
    ins: tuple[str, ...] = ()
    outs: tuple[str, ...] = ()
    src_set: str = ""
    dst_set: str = ""

    @property
    def needs_ports(self) -> bool:
        return self.sports != (FULL,) or self.dports != (FULL,)


EVERYTHING = Match()


def address(text: str) -> Address:
    """'10.0.0.0/8', '!2001:db8::1', … Raises ValueError. Bits beyond the length are taken away."""
    inverted = text.startswith("!")
    network = ipaddress.ip_network(text.removeprefix("!"), strict=False)
    value, length = int(network.network_address), network.prefixlen
    return Address(value | MAPPED, length + 96, inverted) if network.version == 4 else Address(value, length, inverted)


def spans(said: str | int) -> tuple[Span, ...]:
    """Ports as ranges, sorted and disjoint: '80,1000-2000', '!22'. Raises ValueError for an invalid range."""
    text = str(said)
    found = sorted(_span(part) for part in text.removeprefix("!").split(","))
    apart: list[Span] = []
    for low, high in found:
        if apart and low <= apart[-1][1] + 1:
            apart[-1] = (apart[-1][0], max(high, apart[-1][1]))
        else:
            apart.append((low, high))
    return tuple(_beside(apart)) if text.startswith("!") else tuple(apart)


def _span(text: str) -> Span:
    low, _, high = text.replace(":", "-").partition("-")
    first, last = int(low), int(high or low)
    if not first <= last <= 65535:
        raise ValueError(f"{text} is no range of ports")
    return first, last


def _beside(apart: list[Span]) -> Iterator[Span]:
    """What is in none of these."""
    start = 0
    for low, high in apart:
        if low > start:
            yield start, low - 1
        start = high + 1
    if start <= 65535:
        yield start, 65535


# -- two of them together ---------------------------------------------------------------------------------------------


def both(one: Match, other: Match) -> list[Match]:
    """The intersection of two matches: none if no packet can match both. Raises ValueError for two sets of one end."""
    proto = other.proto if one.proto is None else one.proto
    mask = one.flags[0] & other.flags[0]
    states = one.states & other.states if one.states and other.states else one.states | other.states
    sports, dports = _common(one.sports, other.sports), _common(one.dports, other.dports)
    if (
        (other.proto is not None and proto != other.proto)
        or (one.flags[1] ^ other.flags[1]) & mask
        or not sports or not dports
        or (one.states and other.states and not states)
    ):  # fmt: skip
        return []
    flags = (one.flags[0] | other.flags[0], one.flags[1] | other.flags[1])
    ins, outs = (tuple(dict.fromkeys(names)) for names in (one.ins + other.ins, one.outs + other.outs))
    src_set, dst_set = _one_set(one.src_set, other.src_set), _one_set(one.dst_set, other.dst_set)
    if src_set is None or dst_set is None:
        return []
    rest = Match(None, None, proto, sports, dports, flags, states, ins, outs, src_set, dst_set)
    return [
        replace(rest, src=src, dst=dst)
        for src in _together(one.src, other.src)
        for dst in _together(one.dst, other.dst)
        if src is None or dst is None or src.family == dst.family
    ]


def _one_set(name: str, other: str) -> str | None:
    """None: no address is in both."""
    if not name or not other or name == other:
        return name or other
    if name.removeprefix("!") == other.removeprefix("!"):
        return None
    raise ValueError(f"a rule and one that leads to it ask for two sets of one end, {name} and {other}: make a set of both")


def _common(some: tuple[Span, ...], others: tuple[Span, ...]) -> tuple[Span, ...]:
    found = ((max(a, c), min(b, d)) for a, b in some for c, d in others)
    return tuple(sorted((low, high) for low, high in found if low <= high))


def _together(one: Address | None, other: Address | None) -> list[Address | None]:
    if one is None or other is None or one == other:
        return [other if one is None else one]
    if one.family != other.family:
        return []
    if one.inverted and other.inverted:
        outer, inner = (one, other) if replace(one, inverted=False).contains(other) else (other, one)
        if replace(outer, inverted=False).contains(inner):
            return [outer]
        return [part for piece in _outside(one) for part in _together(piece, other)]
    if one.inverted:
        one, other = other, one
    if not other.inverted:
        inner, outer = (one, other) if one.length >= other.length else (other, one)
        return [inner] if outer.contains(inner) else []
    unwanted = replace(other, inverted=False)
    if unwanted.contains(one):
        return []
    return list(_outside(other, one.length)) if one.contains(unwanted) else [one]


def _outside(inverted: Address, within: int | None = None) -> Iterator[Address]:
    """An inverted prefix as prefixes: those of its family, or of the prefix of length `within` around it, that it is not in."""
    first = within if within is not None else 96 if inverted.family == 4 else 0
    for length in range(first + 1, inverted.length + 1):
        bit = 1 << (WIDTH - length)
        value = (inverted.value ^ bit) >> (WIDTH - length) << (WIDTH - length)
        yield Address(value, length)
