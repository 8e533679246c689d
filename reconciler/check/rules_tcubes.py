"""Rules for transparent cubes: a packet passes each once, and the hooks of a chain fit.

On a port, all run at the hook of the port's cube. On a netdev, XDP runs before TC: packets that XDP passes continue to the TC
hook, so an XDP blacklist can precede a TC bridge; behind an XDP cube's redirect no TC cube would see a packet.
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from reconciler.check.messages import quoted
from reconciler.check.symbol_table import Place, SymbolTable
from reconciler.document.suggest import near_miss
from reconciler.errors import Problem

LONGEST = 14  # transparent cubes at one place: with the cubes before and behind them, all that 33 tail calls allow


@dataclass(frozen=True, slots=True)
class _Chain:
    """The transparent cubes at one place. `hook` is that of the cube behind them, None if it is the host; `wire` is the
    netdev at which packets arrive, None if it is a cube's port, or whatever a selector matches."""

    name: str
    hook: str | None
    tcubes: tuple[tuple[str, Place], ...]
    wire: str | None = None
    mixed: bool = False  # a netdev has both hooks
    is_port: bool = False


def chains(world: SymbolTable) -> Iterator[Problem]:
    """Chains with cubes that are not there, not transparent, of another hook, or met twice by a packet."""
    used: dict[str, list[tuple[Place, _Chain]]] = {}
    everywhere = sum(len(attachment.tcubes) for attachment in world.attachments if attachment.netdev is None)
    for attachment in world.attachments:
        if (attachment.netdev is None) == (attachment.netdevs is None):
            words = "an attachment is at one netdev, or at the netdevs that a selector matches"
            yield attachment.place.problem(words, "say either netdev or netdevs")
    for chain in _chains(world):
        there = len(chain.tcubes) + (everywhere if chain.wire is not None and chain.mixed else 0)
        if there > LONGEST:
            words = f"{there} transparent cubes at {chain.name}; a packet can pass {LONGEST} of them in a row"
            place = chain.tcubes[min(LONGEST, len(chain.tcubes) - 1)][1]
            yield place.problem(words, "each takes two of the 33 tail calls that the kernel allows a packet")
        hook = chain.hook
        for name, place in reversed(chain.tcubes) if chain.mixed else chain.tcubes:
            problem = _unusable(world, name, place) or _met_twice(used.get(name, ()), name, place, chain)
            if problem is not None:
                yield problem
                continue
            used.setdefault(name, []).append((place, chain))
            cube = world.by_name[name]
            if hook is not None and cube.hook != hook and not (chain.mixed and hook == "TC"):
                message = f"{quoted(name)} is a {cube.hook} cube, and what is at {chain.name} runs at {hook}"
                yield place.problem(message, related=[(cube.place, f"{quoted(name)} is here")])
            hook = cube.hook if chain.mixed else hook or cube.hook


def _chains(world: SymbolTable) -> Iterator[_Chain]:
    behind = {port.peer: port.hook for port in world.ports if port.peer is not None}
    for port in world.ports:
        wire = port.peer if port.peer is not None and world.cube(port.peer.partition(":")[0]) is None else None
        yield _Chain(f"port {quoted(port.full_name)}", port.hook, port.tcubes, wire, is_port=True)
    for attachment in world.attachments:
        if attachment.netdev is not None:
            name, hook = f"netdev {quoted(attachment.netdev)}", behind.get(attachment.netdev)
            yield _Chain(name, hook, attachment.tcubes, attachment.netdev, mixed=True)
        elif attachment.netdevs is not None:
            yield _Chain(f"netdevs {quoted(attachment.netdevs)}", None, attachment.tcubes, mixed=True)


def _unusable(world: SymbolTable, name: str, place: Place) -> Problem | None:
    cube = world.cube(name)
    if cube is None:
        near = near_miss(name, lambda: [known.name for known in world.cubes if known.is_transparent])
        return place.problem(f"no such cube {quoted(name)}", near)
    if cube.service is not None and not cube.is_transparent:
        message = f"{quoted(name)} is a {cube.service.name}, which is not a transparent cube"
        return place.problem(message, "join it through a port", related=[(cube.place, f"{quoted(name)} is here")])
    return None


def _met_twice(used: Sequence[tuple[Place, _Chain]], name: str, place: Place, chain: _Chain) -> Problem | None:
    """A packet would pass a cube twice that is at a netdev and at the port behind it: it would be counted twice, and
    read-back would be ambiguous. Netdevs that a selector matches are not known here."""
    for there, other in used:
        port, netdev = (other, chain) if other.is_port else (chain, other)
        if port.is_port and not netdev.is_port and netdev.wire in (None, port.wire):
            what = "whose peer it may be" if netdev.wire is None else "whose peer it is"
            return place.problem(f"{quoted(name)} is at {netdev.name} and at {port.name}, {what}: a packet would pass it twice",
                                 related=[(there, "it is here")])
    return None
