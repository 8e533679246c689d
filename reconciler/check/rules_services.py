"""What a service's own Python half says of its cubes: the rules that only it knows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reconciler.check.defaults import fill
from reconciler.check.facts import World
from reconciler.check.quick import quick_test
from reconciler.errors import Problem
from reconciler.service.codec import Env


def services(world: World) -> Iterator[Problem]:
    """Errors and warnings of `check` of each service that has one. A cube that its schema refuses is not shown to it."""
    for cube in world.cubes:
        if cube.service is None or not hasattr(cube.service.half, "check"):
            continue
        draft = cube.place.draft
        data: Any = draft.data["spec"]["cubes"][cube.place.path[-1]]
        if draft.problems and not quick_test(cube.service.schema)(data):
            continue
        env = Env({port.name: index for index, port in enumerate(cube.ports)}, cube=cube.name)
        for path, message, severity in cube.service.check(fill(cube.service.schema, data), env):
            yield draft.problem((*cube.place.path, *path), message, severity=severity)
