"""What a service's own Python half says of its cubes: the rules that only it knows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reconciler.check.defaults import fill
from reconciler.check.facts import CubeFact, World
from reconciler.check.known import KNOWN
from reconciler.check.quick import quick_test
from reconciler.check.schema import Service
from reconciler.errors import Problem
from reconciler.service.codec import Env


def services(world: World) -> Iterator[Problem]:
    """Errors and warnings of `check` of each service that has one. A cube that its schema refuses is not shown to it."""
    for cube in world.cubes:
        if cube.service is None or not hasattr(cube.service.half, "check"):
            continue
        data: Any = cube.place.draft.data["spec"]["cubes"][cube.place.path[-1]]
        yield from KNOWN.passed(data, "services", _of_cube(cube, cube.service, data))


def _of_cube(cube: CubeFact, service: Service, data: Any) -> Iterator[Problem]:
    draft = cube.place.draft
    if draft.problems and not quick_test(service.schema)(data):
        return
    env = Env({port.name: index for index, port in enumerate(cube.ports)}, cube=cube.name)
    for path, message, severity in service.check(fill(service.schema, data), env):
        yield draft.problem((*cube.place.path, *path), message, severity=severity)
