"""Cache of graph fingerprints that passed the cross-cube rules; a hit skips those rules.

The rules about the entire graph read the kind of each cube, its ports with peers and transparent cubes, and everything
outside cubes. If all of that is unchanged since a graph passed, it passes. Rules about a single cube have a memo of their
own: see `cube_memo`.
"""
from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reconciler.check.cube_memo import MEMO, CheckedCube
from reconciler.check.schema import Services
from reconciler.check.schema_check import Draft
from reconciler.check.symbol_table import CubeFact, Place, breaks_loops, cube_fact
from reconciler.incremental.memo import Owned

Fingerprint = list[tuple[Any, list[Any]]]
Peers = Mapping[tuple[str, str], str]

_GRAPHS: Owned[deque[tuple[Fingerprint, Peers]]] = Owned(lambda: deque(maxlen=4))  # files, what is applied, and both together


def fingerprint(drafts: Sequence[Draft]) -> Fingerprint | None:
    """Everything that the rules about the entire graph read; None if a cube is invalid, so that all rules have to run."""
    found = []
    for draft in drafts:
        spec = draft.data["spec"]
        rights = [MEMO().of_normal(cube) for cube in spec.get("cubes", ())]
        cubes = [right.shape or _of_cube(right) for right in rights if right is not None]
        if len(cubes) < len(rights):
            return None
        found.append(({**draft.data, "spec": {**spec, "cubes": []}}, cubes))
    return found


def _of_cube(right: CheckedCube) -> Any:
    cube = right.normal
    ports = [(port["name"], port.get("peer"), tuple(port.get("tcubes", ()))) for port in cube.get("ports", ())]
    schema: Mapping[str, Any] = getattr(right.service, "schema", {})
    shadow = cube.get("shadow", False), cube.get("span", False)
    right.shape = cube["name"], right.service, cube.get("type", "TC"), ports, breaks_loops(schema, cube), shadow
    return right.shape


def peers_of(shape: Fingerprint | None) -> Peers | None:
    """The peers that were found in a graph of this shape, with which nothing was wrong; None if there was none."""
    return next((peers for known, peers in _GRAPHS() if known == shape), None) if shape is not None else None


def store(shape: Fingerprint, peers: Peers) -> None:
    _GRAPHS().append((shape, peers))


def not_passed(drafts: Sequence[Draft], services: Services) -> Iterator[CubeFact]:
    """The cubes that have not passed the rules about a cube alone."""
    for draft in drafts:
        place = Place(draft, ("spec", "cubes"))
        for index, cube in enumerate(draft.data["spec"].get("cubes", ())):
            right = MEMO().of_normal(cube)
            fact = cube_fact(place / index, cube, services) if right is None or not right.passed else None
            if fact is not None:
                yield fact
