"""Rules for transparent cubes: each sits in one chain, and the hooks of a chain fit.

On a port, all run at the hook of the port's cube. On a netdev, XDP comes before TC: what XDP lets pass goes on to the TC
hook, so an XDP blacklist can stand in front of a TC bridge; behind an XDP cube's redirect no TC cube would see a packet.
"""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from reconciler.check.messages import quoted
from reconciler.check.symbol_table import Place, SymbolTable
from reconciler.document.suggest import near_miss
from reconciler.errors import Problem

LONGEST = 14  # transparent cubes at one place: with the cubes before and behind them, all that 33 tail calls allow


@dataclass(frozen=True, slots=True)
class _Chain:
    """The transparent cubes at one place. `hook` is that of the cube behind them, None if it is the host."""

    name: str
    hook: str | None
    tcubes: tuple[tuple[str, Place], ...]
    mixed: bool = False  # a netdev has both hooks


def chains(world: SymbolTable) -> Iterator[Problem]:
    """Chains with cubes that are not there, not transparent, of another hook, or somewhere else as well."""
    used: dict[str, tuple[Place, _Chain]] = {}
    for chain in _chains(world):
        if len(chain.tcubes) > LONGEST:
            words = f"{len(chain.tcubes)} transparent cubes at {chain.name}; a packet can pass {LONGEST} of them in a row"
            yield chain.tcubes[LONGEST][1].problem(words, "each takes two of the 33 tail calls that the kernel allows a packet")
        hook = chain.hook
        for name, place in reversed(chain.tcubes) if chain.mixed else chain.tcubes:
            problem = _unusable(world, name, place) or _used_twice(used, name, place, chain)
            if problem is not None:
                yield problem
                continue
            used.setdefault(name, (place, chain))
            cube = world.by_name[name]
            if hook is not None and cube.hook != hook and not (chain.mixed and hook == "TC"):
                message = f"{quoted(name)} is a {cube.hook} cube, and what is at {chain.name} runs at {hook}"
                yield place.problem(message, related=[(cube.place, f"{quoted(name)} is here")])
            hook = cube.hook if chain.mixed else hook or cube.hook


def _chains(world: SymbolTable) -> Iterator[_Chain]:
    behind = {port.peer: port.hook for port in world.ports if port.peer is not None}
    for port in world.ports:
        yield _Chain(f"port {quoted(port.full_name)}", port.hook, port.tcubes)
    for attachment in world.attachments:
        yield _Chain(f"netdev {quoted(attachment.netdev)}", behind.get(attachment.netdev), attachment.tcubes, mixed=True)


def _unusable(world: SymbolTable, name: str, place: Place) -> Problem | None:
    cube = world.cube(name)
    if cube is None:
        near = near_miss(name, lambda: [known.name for known in world.cubes if known.is_transparent])
        return place.problem(f"no such cube {quoted(name)}", near)
    if cube.service is not None and not cube.is_transparent:
        message = f"{quoted(name)} is a {cube.service.name}, which is not a transparent cube"
        return place.problem(message, "join it through a port", related=[(cube.place, f"{quoted(name)} is here")])
    return None


def _used_twice(used: Mapping[str, tuple[Place, _Chain]], name: str, place: Place, chain: _Chain) -> Problem | None:
    first = used.get(name)
    if first is None or first[1] is chain:  # twice in one list: the schema has said so
        return None
    return place.problem(f"{quoted(name)} is at {first[1].name} already; a transparent cube can be at one place only",
                         related=[(first[0], "it is here")])
