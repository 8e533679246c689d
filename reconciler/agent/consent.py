"""Consent for upgrades: a change of code that would reset state is not applied unasked.

If newer code changes a table's layout, its learned rows are lost. That is an upgrade, no drift: the kernel was not modified. It
is pending until an administrator accepts it, by `pcn-apply` or a flag.
"""
from __future__ import annotations

import logging

from reconciler.engine.apply import ApplyResult
from reconciler.graph.records import CubeRecord

log = logging.getLogger("pcn.agent")


class ConsentNeeded(Exception):
    """The plan would reset state, without consent."""


def held(seen: ApplyResult) -> frozenset[str]:
    """The topologies that wait for consent: those whose cubes would lose state. Empty if a reset is of no desired cube."""
    cubes = [seen.session.desired.state.get("/".join(address.split("/")[:2])) for address in seen.plan.resets]
    owners = [cube.topology for cube in cubes if isinstance(cube, CubeRecord)]
    return frozenset(owners) if len(owners) == len(cubes) else frozenset()


def ask_consent(planned: ApplyResult, *, accepts_reset: bool) -> None:
    """Raises ConsentNeeded if state would be reset; warns of steps that may cut off the administrator of the host."""
    if not accepts_reset and planned.plan.resets:
        raise ConsentNeeded
    for lockout in planned.plan.lockouts:
        log.warning("this host may be reached no more: %s", lockout.sentence)


def problem_of(addresses: tuple[str, ...]) -> str:
    return (
        f"pending: newer code has another layout for {', '.join(addresses)} (state reset: what was learned there would be lost); "
        "the programs that run go on until you run pcn-apply, or start the agent with --accept-state-reset"
    )
