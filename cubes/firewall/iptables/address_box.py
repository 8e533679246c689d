"""Conditions of a firewall rule as boxes, values that can be intersected: which packets a rule matches.

A box matches a packet if all its fields do. A condition of iptables that one box cannot express (a list of ports, a negated
prefix) is several disjoint boxes.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Span = tuple[int, int]

ALL_PORTS = (0, 65535)
ICMPS = {4: 1, 6: 58}
"""By family."""


@dataclass(frozen=True, slots=True)
class AddressBox:
    """None matches all. Of ICMP, the ports are type and code. `flags` are (mask, value), `state` a value of the rule's leaf
    conntrack, `device` the netdev by which the packet arrived, `smac` the MAC that sent it. `src_sets` are named sets that
    all contain the source, or with '!' before the name do not; `dst_sets` the same of the destination."""

    src: Network | None = None
    dst: Network | None = None
    proto: int | None = None
    sport: Span | None = None
    dport: Span | None = None
    flags: tuple[int, int] = (0, 0)
    state: str | None = None
    device: str | None = None
    smac: str | None = None
    src_sets: frozenset[str] = frozenset()
    dst_sets: frozenset[str] = frozenset()


EVERYTHING = AddressBox()


@dataclass(frozen=True, slots=True)
class Case:
    """`sure`: the box matches exactly what the rule matches; else the rule has conditions that no box can express, and the
    box is the smallest one around it."""

    box: AddressBox
    sure: bool = True


def meet(one: AddressBox, other: AddressBox) -> AddressBox | None:
    """The packets of both; None if there are none."""
    if one is EVERYTHING:
        return other
    if other is EVERYTHING:
        return one
    clash = _clash(one.proto, other.proto) or _clash(one.state, other.state)
    if clash or _clash(one.device, other.device) or _clash(one.smac, other.smac):
        return None
    if (one.flags[1] ^ other.flags[1]) & one.flags[0] & other.flags[0]:
        return None
    try:
        return AddressBox(
            src=_meet_networks(one.src, other.src),
            dst=_meet_networks(one.dst, other.dst),
            proto=one.proto if one.proto is not None else other.proto,
            sport=_meet_spans(one.sport, other.sport),
            dport=_meet_spans(one.dport, other.dport),
            flags=(one.flags[0] | other.flags[0], one.flags[1] | other.flags[1]),
            state=one.state or other.state,
            device=one.device or other.device,
            smac=one.smac or other.smac,
            src_sets=_meet_sets(one.src_sets, other.src_sets),
            dst_sets=_meet_sets(one.dst_sets, other.dst_sets),
        )
    except _Disjoint:
        return None


class _Disjoint(Exception):
    pass


def _clash(one: Any, other: Any) -> bool:
    return one is not None and other is not None and one != other


def _meet_spans(one: Span | None, other: Span | None) -> Span | None:
    if one is None or other is None:
        return one or other
    low, high = max(one[0], other[0]), min(one[1], other[1])
    if low > high:
        raise _Disjoint
    return low, high


def _meet_networks(one: Network | None, other: Network | None) -> Network | None:
    if one is None or other is None:
        return one or other
    if one.version != other.version or not one.overlaps(other):
        raise _Disjoint
    return max(one, other, key=lambda network: network.prefixlen)


def _meet_sets(some: frozenset[str], others: frozenset[str]) -> frozenset[str]:
    both = some | others
    if any(f"!{name}" in both for name in both):
        raise _Disjoint
    return both


def product(choices: Iterable[Sequence[Case]]) -> tuple[Case, ...]:
    """All combinations of one case of each choice."""
    found = [Case(EVERYTHING)]
    for cases in choices:
        found = [
            Case(both, old.sure and new.sure) for old in found for new in cases if (both := meet(old.box, new.box)) is not None
        ]
    return tuple(found)


# -- what is not ------------------------------------------------------------------------------------------------------


def other_spans(spans: Iterable[Span]) -> Iterator[Span]:
    """All ports but these, in order."""
    free = 0
    for low, high in sorted(spans):
        if low > free:
            yield free, low - 1
        free = max(free, high + 1)
    if free <= ALL_PORTS[1]:
        yield free, ALL_PORTS[1]


def other_networks(networks: Iterable[Network]) -> list[Network]:
    """All addresses of a family but these (of which there is at least one)."""
    left: list[Any] = []
    for number, network in enumerate(networks):
        if number == 0:
            left = [ipaddress.ip_network("::/0" if network.version == 6 else "0.0.0.0/0")]
        kept: list[Any] = []
        for some in left:
            if network.supernet_of(some):
                continue
            kept += some.address_exclude(network) if some.supernet_of(network) else [some]
        left = kept
    return sorted(left)


def other_flags(mask: int, value: int) -> Iterator[tuple[int, int]]:
    """All flags but these: one bit is wrong, and those before it are right."""
    right = 0
    for bit in (1 << number for number in range(8)):
        if mask & bit:
            yield right | bit, (value & right) | (~value & bit)
            right |= bit
