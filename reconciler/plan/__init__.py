"""From differences to the ordered steps that remove them. Pure: a plan can be created, printed and discarded.

Each kind of record has one function that knows the hitless way to change it; `Rank` orders their steps so that no packet ever
meets a target that is not ready. Where nothing differs none of them is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconciler.graph.diff import diff
from reconciler.graph.parts import Built, Desired
from reconciler.graph.records import Live
from reconciler.model import BuildKey
from reconciler.plan.context import Context, Surroundings
from reconciler.plan.notes import other_names, refused_chains
from reconciler.plan.steps import Plan
from reconciler.service.registry import Services

NOWHERE = Surroundings()


def make_plan(
    desired: Desired,
    live: Live,
    services: Services,
    built: Mapping[BuildKey, Built],
    objects: Mapping[str, Any],
    around: Surroundings = NOWHERE,
) -> Plan:
    """The plan that turns `live` into `desired`. `objects` by digest; `around` is for what is reported of connections."""
    context = Context(desired, live, services, built, objects)
    changes = diff(desired.state, live.state)
    notes = (*desired.notes, *refused_chains(desired, live), *other_names(desired, live))
    if not changes and not live.orphans:
        return Plan((), tuple(desired.pending), notes)
    from reconciler.plan.assemble import plan_steps

    steps, lockouts = plan_steps(changes, context, around)
    return Plan(steps, tuple(desired.pending), notes, lockouts)
