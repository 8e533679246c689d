"""The findings of services' own `check`: the rules that only a service can check."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from reconciler.check.defaults import fill
from reconciler.check.schema_compiler import quick_test
from reconciler.check.symbol_table import CubeFact
from reconciler.errors import Problem, ServiceAway, ServiceRefused
from reconciler.service.model.codec import Env


def services(cube: CubeFact) -> Iterator[Problem]:
    """Errors and warnings of `check` of its service, if that has one. A cube that its schema refuses is not shown to it."""
    service, draft = cube.service, cube.place.draft
    if service is None or not service.implementation.checks:
        return
    if draft.problems and not quick_test(service.schema)(cube.data):
        return
    env = Env({port.name: index for index, port in enumerate(cube.ports)}, cube=cube.name)
    try:
        for path, message, severity in service.check(fill(service.schema, cube.data), env):
            yield draft.problem((*cube.place.path, *path), message, severity=severity)
    except (ServiceAway, ServiceRefused) as error:
        problem = draft.problem((*cube.place.path, "service-name"), str(error), severity="error")
        yield replace(problem, passing=isinstance(error, ServiceAway))
