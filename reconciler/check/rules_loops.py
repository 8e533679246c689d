"""A rule about loops: cubes that flood, joined in a ring or by two links, send a broadcast round for ever."""
from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

from reconciler.check.messages import quoted
from reconciler.check.rules_peers import target_of
from reconciler.check.symbol_table import Place, PortFact, SymbolTable
from reconciler.errors import Problem


@dataclass(frozen=True, slots=True)
class Join:
    """Two ports that are connected: as peers, or by a veth. `place` is where the document declares it."""

    ends: tuple[PortFact, PortFact]
    place: Place


def loops(world: SymbolTable) -> Iterator[Problem]:
    """A warning at each join that closes a ring, with all joins of the ring. A cube with a spanning tree closes none."""
    tree: dict[str, list[tuple[str, Join]]] = defaultdict(list)
    for join in _joins(world):
        one, other = (port.cube for port in join.ends)
        ring = _path(tree, one, other)
        if ring is None:
            tree[one].append((other, join))
            tree[other].append((one, join))
            continue
        cubes = " and ".join(quoted(name) for name in sorted({one, other}))
        message = f"{cubes} are joined in a ring: a broadcast goes round in it for ever" if one != other else (
            f"{cubes} is joined to itself: a broadcast goes round for ever")  # fmt: skip
        related = [(each.place, "with this") for each in ring]
        found = join.place.problem(message, "leave one of the joins out: there is no spanning tree", related=related)
        yield replace(found, severity="warning")


def _joins(world: SymbolTable) -> Iterator[Join]:
    """Each pair of joined ports of cubes that flood, once."""
    flooding = {cube.name for cube in world.cubes if cube.service is not None and cube.service.floods and not cube.breaks_loops}
    ports = {port.full_name: port for port in world.ports if port.cube in flooding}
    netdevs = {port.peer: port for port in ports.values() if port.peer is not None and target_of(port.peer) is None}
    seen: set[frozenset[str]] = set()
    for port in ports.values():
        other = ports.get(port.peer or "")
        pair = frozenset((port.full_name, port.peer or ""))
        if other is not None and pair not in seen and other.peer in (None, port.full_name):
            seen.add(pair)
            yield Join((port, other), port.place / "peer")
    for link in world.links:
        ends = [netdevs[end.name] for end in link.ends if end.netns is None and end.name in netdevs]
        if len(ends) == 2:
            yield Join((ends[0], ends[1]), link.end.place / "name")


def _path(tree: dict[str, list[tuple[str, Join]]], start: str, goal: str) -> list[Join] | None:
    """The joins that connect one cube to another; None if none do."""
    if start != goal and not (tree.get(start) and tree.get(goal)):
        return None
    came: dict[str, list[Join]] = {start: []}
    queue = deque([start])
    while queue and goal not in came:
        here = queue.popleft()
        for there, join in tree.get(here, ()):
            if there not in came:
                came[there] = [*came[here], join]
                queue.append(there)
    return came.get(goal)
