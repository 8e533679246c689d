"""What an agent asks before it does it: a change of code that would reset state.

Where a table's layout is another one in newer code, what the datapath learned in it is lost. That is an upgrade and no drift:
nobody has touched the kernel. It waits until somebody who knows that connections will be cut says so, by `pcn-apply` or a flag.
"""
from __future__ import annotations

import logging

from reconciler.engine.apply import ApplyResult
from reconciler.graph.records import CubeRecord

log = logging.getLogger("pcn.agent")


class ConsentNeeded(Exception):
    """The plan would reset state, and nobody has agreed to it."""


def held(seen: ApplyResult) -> frozenset[str]:
    """The topologies that wait: those whose cubes would lose what they learned. None, if it is not theirs alone."""
    cubes = [seen.session.desired.state.get("/".join(address.split("/")[:2])) for address in seen.plan.resets]
    owners = [cube.topology for cube in cubes if isinstance(cube, CubeRecord)]
    return frozenset(owners) if len(owners) == len(cubes) else frozenset()


def ask_consent(planned: ApplyResult, *, accepts_reset: bool) -> None:
    """Raises ConsentNeeded for what would reset state; warns of what may cut off the administrator of the host."""
    if not accepts_reset and planned.plan.resets:
        raise ConsentNeeded
    for lockout in planned.plan.lockouts:
        log.warning("this host may be reached no more: %s", lockout.sentence)


def problem_of(addresses: tuple[str, ...]) -> str:
    return (
        f"pending: newer code has another layout for {', '.join(addresses)} (state reset: what was learned there would be lost); "
        "the programs that run go on until you run pcn-apply, or start the agent with --accept-state-reset"
    )
