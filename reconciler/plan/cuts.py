"""Which steps cut connections. Pure.

A planner knows the cost of its step for packets and tables. The cost for connections depends on more than the step: the state
before and after, whose addresses a netdev has, and a service's own declarations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from reconciler.graph.records import HookRecord
from reconciler.plan.context import Context, Surroundings
from reconciler.plan.lockouts import lockouts_by, lockouts_of, lost_addresses
from reconciler.plan.operations import (
    AttachHook,
    ConfigureEnd,
    CreateLink,
    CreateMap,
    DeleteLinks,
    DeleteRows,
    SetHop,
    UpdateHook,
    WriteRows,
)
from reconciler.plan.steps import Disruption, Lockout, Rank, Step
from reconciler.plan.ways import arrivals, changes, is_taken, place_of, service_of


def with_cuts(steps: Sequence[Step], context: Context, around: Surroundings) -> tuple[list[Step], tuple[Lockout, ...]]:
    """The steps, each with what connections it cuts, and what may cut the host off."""
    found, lockouts, around = [], dict[Lockout, None](), replace(around, made=frozenset(_made(steps)))
    for step in steps:
        cuts = list(dict.fromkeys(_cuts(step, context, around)))
        lockouts |= dict.fromkeys(lockouts_of(step, context, around))
        worse = max(step.disruption, Disruption.CONNECTIONS_CUT)
        found.append(replace(step, disruption=worse, cuts="; ".join(cuts)) if cuts else step)
    said = changes(around.before, around.after, context.desired.state, context.services)
    lockouts |= dict.fromkeys(lockouts_by(said, context, around))
    return _changed(found, said), tuple(lockouts)


def _made(steps: Sequence[Step]) -> Iterator[str]:
    made = (step.operation.link for step in steps if isinstance(step.operation, CreateLink))
    yield from (end.name for link in made for end in link.ends if end.netns is None)


def _cuts(step: Step, context: Context, around: Surroundings) -> Iterator[str]:
    match step.operation:
        case ConfigureEnd(end, before):
            if lost := lost_addresses(end, before):
                yield f"those of {', '.join(lost)}"
        case DeleteLinks(links) if step.rank == Rank.RETIRE_LINK:
            if lost := [address for link in links for end in link.ends for address in end.addresses]:
                yield f"those of {', '.join(lost)}"
        case AttachHook() | UpdateHook() | SetHop():
            yield from _on_the_way(step, context, around)
        case DeleteRows() | CreateMap():
            yield from _of_rows(step, context)


def _of_rows(step: Step, context: Context) -> Iterator[str]:
    """Rows whose deletion cuts connections (`CUTS` of a service)."""
    _, cube, _, table = (*step.address.split("/", 3), "", "", "")[:4]
    service = service_of(cube, context.desired.state, context.services)
    said = service.implementation.cut_with.get(table) if service is not None else None
    if said and (isinstance(step.operation, DeleteRows) or step.disruption):
        yield said


def _on_the_way(step: Step, context: Context, around: Surroundings) -> Iterator[str]:
    place = place_of(step, context, around)
    if place is None:
        return
    if isinstance(record := context.desired.state.get(step.address), HookRecord):
        own = around.own.get(record.netdev)
        if own is not None and is_taken(record, *place):
            yield f"the host's own by {record.netdev}, which {own}"
    yield from (said for _, said in arrivals(place, context, around))


def _changed(steps: list[Step], said: Mapping[str, str]) -> list[Step]:
    """Changes of configurations that cut connections; reported at the first rows of a cube that are written."""
    left = dict(said)
    for number, step in enumerate(steps):
        cube = step.address.split("/")[1] if isinstance(step.operation, WriteRows) else ""
        if words := left.pop(cube, ""):
            steps[number] = replace(step, disruption=max(step.disruption, Disruption.CONNECTIONS_CUT), cuts=words)
    return steps
