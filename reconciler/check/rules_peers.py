"""Rules for peers: who is joined to whom."""
from __future__ import annotations

from collections.abc import Iterator, Mapping

from reconciler.check.messages import quoted
from reconciler.check.rules_names import OBJECT_NAME
from reconciler.check.symbol_table import CubeFact, PortFact, SymbolTable
from reconciler.document.suggest import near_miss
from reconciler.errors import Problem

Target = tuple[str, str]
"""A cube and a port of it."""


def target_of(peer: str | None) -> Target | None:
    """The cube's port that a peer is; None if it is a netdev or nothing."""
    cube, colon, port = (peer or "").partition(":")
    return (cube, port) if colon else None


def peers(world: SymbolTable) -> Iterator[Problem]:
    """Peers that are not there, and pairs that do not agree. Netdevs need not be there."""
    claims: dict[str, PortFact] = {}
    for port in world.ports:
        if port.peer is None:
            continue
        problem = _bad_target(world, port) or _disagreement(world, port) or _second_claim(claims, port)
        if problem is not None:
            yield problem
        else:
            claims.setdefault(port.peer, port)


def symmetric(world: SymbolTable) -> Mapping[Target, str]:
    """The peers of ports that have none of their own, but are some other port's."""
    found: dict[Target, str] = {}
    for port in world.ports:
        target = target_of(port.peer)
        cube = world.cube(target[0]) if target else None
        other = cube.port(target[1]) if cube and target else None
        if other is not None and other.peer is None:
            found[other.cube, other.name] = port.full_name
    return found


def _bad_target(world: SymbolTable, port: PortFact) -> Problem | None:
    target = target_of(port.peer)
    if target is None:
        return None
    place = port.place / "peer"
    if not all(OBJECT_NAME.fullmatch(name) for name in target):
        return place.problem(f"{quoted(port.peer)} is not a peer: expected a network device (veth0) or a cube's port (r1:port1)")
    cube, name = world.cube(target[0]), target[1]
    if cube is None:
        return place.problem(f"no such cube {quoted(target[0])}", near_miss(target[0], lambda: world.by_name))
    if cube.name == port.cube:
        said = "itself" if name == port.name else "another port of the same cube"
        return place.problem(f"{quoted(port.full_name)} is joined to {said}")
    if cube.is_transparent:
        return place.problem(f"{quoted(cube.name)} is a transparent cube: it has no ports", "list it under tcubes")
    other = cube.port(name)
    if other is None:
        near = near_miss(name, lambda: [known.name for known in cube.ports])
        related = [(cube.place, "the cube is here")]
        return place.problem(f"no such port {quoted(name)} on cube {quoted(cube.name)}", near, related=related)
    return _other_hook(port, cube)


def _other_hook(port: PortFact, cube: CubeFact) -> Problem | None:
    if port.hook == cube.hook:
        return None
    message = f"{quoted(port.cube)} is a {port.hook} cube, {quoted(cube.name)} a {cube.hook} cube: they cannot be joined"
    return (port.place / "peer").problem(message, related=[(cube.place, f"{quoted(cube.name)} is here")])


def _disagreement(world: SymbolTable, port: PortFact) -> Problem | None:
    """The other side has another peer."""
    target = target_of(port.peer)
    cube = world.cube(target[0]) if target else None
    other = cube.port(target[1]) if cube and target else None
    if other is None or other.peer is None or other.peer == port.full_name:
        return None
    message = f"{quoted(port.full_name)} names {quoted(port.peer)} as its peer, but the peer of that is {quoted(other.peer)}"
    return (port.place / "peer").problem(message, related=[(other.place / "peer", "the other side is here")])


def _second_claim(claims: Mapping[str, PortFact], port: PortFact) -> Problem | None:
    first = claims.get(port.peer or "")
    if first is None:
        return None
    what = "port" if target_of(port.peer) else "netdev"
    message = f"{what} {quoted(port.peer)} is the peer of {quoted(first.full_name)} already"
    return (port.place / "peer").problem(message, related=[(first.place / "peer", "it is here")])
