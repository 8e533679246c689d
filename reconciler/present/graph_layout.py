"""Layout of a drawing: columns along the longest path, so that a packet's path reads from left to right. Pure.

The longest path of the graph is the spine. Other branches (a bridge's other hosts) are placed on the emptier side of their
attachment, and within a column boxes are near their neighbours. The graphs of one host need no more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

Neighbours = Mapping[str, Sequence[str]]
_SWEEPS = 8


@dataclass(slots=True)
class GraphLayout:
    """Column and vertical centre of each box; `heights` and `gap` are in the unit of the caller."""

    column: dict[str, int] = field(default_factory=dict)
    y: dict[str, float] = field(default_factory=dict)

    def columns(self) -> list[list[str]]:
        """The boxes of each column from top to bottom."""
        found: list[list[str]] = [[] for _ in range(max(self.column.values(), default=-1) + 1)]
        for key in sorted(self.column, key=lambda key: self.y.get(key, 0.0)):
            found[self.column[key]].append(key)
        return found


def layout(keys: Sequence[str], wires: Iterable[tuple[str, str]], heights: Mapping[str, float], gap: float) -> GraphLayout:
    """Lay out the connected components, one below the other."""
    near: dict[str, list[str]] = {key: [] for key in keys}
    for one, other in wires:
        if other not in near[one]:
            near[one].append(other)
            near[other].append(one)
    whole, top, seen = GraphLayout(), 0.0, set[str]()
    for key in keys:
        if key in seen:
            continue
        part = list(distances(key, near))
        seen.update(part)
        part.sort(key=keys.index)
        inner = _part(part, near, heights, gap)
        upper = min(inner.y[each] - heights[each] / 2 for each in part)
        for each in part:
            whole.column[each], whole.y[each] = inner.column[each], inner.y[each] - upper + top
        top = max(whole.y[each] + heights[each] / 2 for each in part) + 2 * gap
    return whole


def distances(start: str, near: Neighbours, without: frozenset[str] = frozenset()) -> dict[str, int]:
    """Breadth-first search from `start`, not through `without`: the reachable boxes, nearest first, with their distances."""
    found, queue = {start: 0}, deque([start])
    while queue:
        here = queue.popleft()
        for there in near[here]:
            if there not in found and there not in without:
                found[there] = found[here] + 1
                queue.append(there)
    return found


def _part(part: Sequence[str], near: Neighbours, heights: Mapping[str, float], gap: float) -> GraphLayout:
    found = GraphLayout(_columns(part, near))
    order = _ordered(found, part, near)
    _stack(found, order, near, heights, gap)
    return found


def _columns(part: Sequence[str], near: Neighbours) -> dict[str, int]:
    first = _farthest(part[0], near)
    start, end = sorted((first, _farthest(first, near)), key=part.index)  # the earlier of the two is on the left
    spine = _path(start, end, near)
    column = {key: number for number, key in enumerate(spine)}
    load = dict.fromkeys(column.values(), 1)
    on_spine = frozenset(spine)
    for key in spine:
        for branch in near[key]:
            if branch in column:
                continue
            tree = distances(branch, near, on_spine)
            bound = {joint for each in tree for joint in near[each] if joint in on_spine}
            side = 1
            if len(bound) == 1:  # attached to one box of the spine: either side will do
                side = min((1, -1), key=lambda side: (load.get(column[key] + side, 0), column[key] + side < 0, side))
            for each, depth in tree.items():
                column[each] = column[key] + side * (depth + 1)
                load[column[each]] = load.get(column[each], 0) + 1
    leftmost = min(column.values())
    return {key: number - leftmost for key, number in column.items()}


def _farthest(start: str, near: Neighbours) -> str:
    return list(distances(start, near))[-1]


def _path(start: str, end: str, near: Neighbours) -> list[str]:
    steps = distances(end, near)
    path = [start]
    while path[-1] != end:
        path.append(min(near[path[-1]], key=lambda key: steps[key]))
    return path


def _ordered(found: GraphLayout, part: Sequence[str], near: Neighbours) -> list[list[str]]:
    """Each column's boxes in an order with few crossings, by the barycentre heuristic."""
    columns: list[list[str]] = [[] for _ in range(max(found.column.values()) + 1)]
    for key in part:
        columns[found.column[key]].append(key)
    for sweep in range(_SWEEPS):
        place = {key: (number + 0.5) / len(column) for column in columns for number, key in enumerate(column)}
        for column in columns if sweep % 2 else columns[::-1]:
            column.sort(key=lambda key: sum(place[other] for other in near[key]) / len(near[key]) if near[key] else place[key])
            place |= {key: (number + 0.5) / len(column) for number, key in enumerate(column)}
    return columns


def _stack(
    found: GraphLayout, columns: Sequence[Sequence[str]], near: Neighbours, heights: Mapping[str, float], gap: float
) -> None:
    """Heights that put boxes opposite their neighbours, without overlap."""
    for column in columns:
        _place(column, dict.fromkeys(column, 0.0), heights, gap, found.y)
    for _ in range(_SWEEPS):
        for column in columns:
            wanted = {
                key: sum(found.y[other] for other in near[key]) / len(near[key]) if near[key] else found.y[key] for key in column
            }
            _place(column, wanted, heights, gap, found.y)


def _place(
    column: Sequence[str], wanted: Mapping[str, float], heights: Mapping[str, float], gap: float, y: dict[str, float]
) -> None:
    """As near to `wanted` as order and gap allow, without drift of the column's centre."""
    bottom = None
    for key in column:
        centre = wanted[key] if bottom is None else max(wanted[key], bottom + gap + heights[key] / 2)
        y[key], bottom = centre, centre + heights[key] / 2
    drift = sum(y[key] - wanted[key] for key in column) / len(column) if column else 0.0
    for key in column:
        y[key] -= drift
