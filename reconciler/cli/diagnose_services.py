"""pcn doctor's checks of services: minimum kernel, compiled objects, and the verifier's verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reconciler.cli.diagnosis import LIMITED, MISSING, OK, Check
from reconciler.errors import CompileError
from reconciler.present.leaves import counted
from reconciler.service.registry import Services

Units = Mapping[str, Sequence[Any]]
"""The compilation units of each service."""


def check_services(services: Services) -> Iterator[Check]:
    """The services, and those that need a newer kernel."""
    from reconciler.kernel.release import is_older_than, release

    names = services.names()
    yield Check("services", OK, ", ".join(names)) if names else Check("services", MISSING, "none", "everything", "reinstall pcn")
    for name in names:
        service = services.get(name)
        if service is not None and is_older_than(service.min_kernel):
            found = f"{name} needs Linux {service.min_kernel}, this is {release()}"
            yield Check(f"service {name}", LIMITED, found, f"cubes of service {name}", "a newer kernel")


def check_compiler(units: Units) -> Check:
    """Whether a compiler is available, and how many units are cached."""
    from reconciler import compiler
    from reconciler.kernel.cachedir import directory

    found, lacking = compiler.available(), compiler.missing()
    every = [unit for each in units.values() for unit in each]
    kept = sum(bool(_cached(unit)) for unit in every)
    words = f"{kept} of {len(every)} programs are compiled, in {directory()}"
    if not lacking:
        return Check("compiler", OK, f"{found}; {words}")
    if kept < len(every):
        return Check("compiler", LIMITED if kept else MISSING, f"none; {words}", "services that were not compiled yet", lacking)
    return Check("compiler", OK, f"none, and none is needed: {words}")


def _cached(unit: Any) -> list[Any]:
    """Cached objects of a unit, by any compiler; none for an unreadable source."""
    from reconciler.compiler import cached

    try:
        return cached(unit)
    except CompileError:
        return []


def check_programs(units: Units) -> Iterator[Check]:
    """The verifier's verdict on every cached program, one line per service and compiler."""
    from reconciler.live.verify import verify

    for name, each in units.items():
        made: dict[str, list[Any]] = {}
        for program in (program for unit in each for program in _cached(unit)):
            made.setdefault(program.compiler, []).append(program)
        for maker, programs in sorted(made.items()):
            yield from _verdicts(name, maker, list(verify(programs)))
        if lacking := [unit for unit in each if not _cached(unit)]:
            words = f"not compiled, so not tried: {', '.join(map(str, lacking))}"
            yield Check(f"load {name}", LIMITED, words, "nothing, if it compiles and loads", "pcn compile --all")


def _verdicts(name: str, maker: str, verdicts: Sequence[Any]) -> Iterator[Check]:
    from reconciler.compiler import stack_of

    for verdict in verdicts:
        if verdict.refusal:
            words = f"{verdict.program.compiler}'s {verdict.refusal}"
            yield Check(f"load {name}", MISSING, words, f"cubes of service {name}", "report it, with what is above")
    if taken := [verdict for verdict in verdicts if not verdict.refusal]:
        most = max(verdict.instructions for verdict in taken)
        stack = max(stack_of(verdict.program.insns) for verdict in taken)
        words = f"{counted(len(taken), 'program')} of {maker}; at most {most} instructions verified, {stack} bytes of stack"
        yield Check(f"load {name}", OK, words)
