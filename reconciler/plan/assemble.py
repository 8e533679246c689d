"""The steps for all differences: each kind of record has its planner, and `Rank` orders their results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from reconciler import pins
from reconciler.graph.diff import Change, diff
from reconciler.graph.parts import Desired
from reconciler.graph.records import (
    CubeRecord,
    Grouped,
    HookRecord,
    LinkRecord,
    MemberRecord,
    NamespaceRecord,
    NextHopRecord,
    OffloadRecord,
    PortRecord,
    ProgramRecord,
    PromiscuousRecord,
    Record,
    State,
    TableRecord,
    TopologyRecord,
    TrampolineRecord,
    WaitingRecord,
)
from reconciler.plan.context import ASIDE, Context, Surroundings, what
from reconciler.plan.cube import plan_cube, plan_document, plan_port, plan_waiting
from reconciler.plan.cuts import with_cuts
from reconciler.plan.forwarding import plan_hook, plan_member, plan_next_hop
from reconciler.plan.network import merge_link_deletions, plan_link, plan_namespace, plan_offload, plan_promiscuous
from reconciler.plan.operations import Grace, Remove, Rename, SetLink
from reconciler.plan.programs import plan_programs
from reconciler.plan.recreate import mark_recreated
from reconciler.plan.steps import Disruption, Lockout, Rank, Step, ordered
from reconciler.plan.tables import plan_table
from reconciler.plan.trampolines import plan_trampoline, stale_chains

_PLANNERS: tuple[tuple[type[Any], Callable[[Change, Any], Iterable[Step]]], ...] = (
    (NamespaceRecord, plan_namespace),
    (LinkRecord, plan_link),
    (OffloadRecord, plan_offload),
    (PromiscuousRecord, plan_promiscuous),
    (CubeRecord, plan_cube),
    (PortRecord, plan_port),
    (WaitingRecord, plan_waiting),
    (TableRecord, plan_table),
    (TrampolineRecord, plan_trampoline),
    (NextHopRecord, plan_next_hop),
    (MemberRecord, plan_member),
    (HookRecord, plan_hook),
    (TopologyRecord, plan_document),
)


def plan_steps(changes: list[Change], context: Context, around: Surroundings) -> tuple[tuple[Step, ...], tuple[Lockout, ...]]:
    """The ordered steps for `changes`, which is what of the live state is not as wanted, and what may cut the host off."""
    live, desired = context.live, context.desired
    steps: list[Step] = []
    context.state = dict(live.state)
    for record in _other_cubes(desired.state, live.state):
        steps += _rename_aside(record, context)
    mark_recreated(context)
    if context.altered:
        changes = diff(desired.state, context.state)
    context.fresh = {c.after.name for c in changes if c.before is None and isinstance(c.after, CubeRecord)}
    context.growing = {c.after.cube for c in changes if c.before is None and isinstance(c.after, ProgramRecord)}
    steps += _of_records(changes, context)
    steps += [
        Step(Rank.RETIRE, f"leftover/{path}", "delete", "left by an interrupted apply", Remove(path))
        for path in live.orphans
        if path not in context.cleared | _written(steps)
    ]
    if any(step.rank == Rank.RETIRE for step in steps):
        steps.append(Step(Rank.GRACE, "packets", "wait", "until none is inside what goes", Grace()))
    if steps and live.format != pins.FORMAT:
        steps += _format(live.format)
    steps = merge_link_deletions(steps)
    steps, lockouts = with_cuts(steps, context, around) if steps else (steps, ())
    return ordered(annotate_blast_radius(steps, desired)), lockouts


def _of_records(changes: list[Change], context: Context) -> Iterator[Step]:
    """The steps of each kind of record, and then of the programs of all."""
    doomed = {c.before.name for c in changes if c.after is None and isinstance(c.before, CubeRecord)}
    relevant = [change for change in changes if not _goes_with_its_cube(change, doomed)]
    by_kind: dict[type[Any], list[Change]] = {kind: [] for kind, _ in _PLANNERS}
    for change in relevant:
        by_kind.setdefault(type(change.after or change.before), []).append(change)
    for kind, planner in _PLANNERS:
        for change in by_kind[kind]:
            yield from planner(change, context)
        if kind is TableRecord:
            by_kind[TrampolineRecord] += stale_chains(context)
    yield from plan_programs(relevant, context)


def _format(before: int) -> Iterator[Step]:
    """What is created has this code's layout, from which older code has to keep away. Where nothing is to be done the layout
    stays the one that it was."""
    said = {pins.FORMAT_PIN: str(pins.FORMAT)}
    undo = SetLink(pins.FORMAT_PIN, str(before))
    if before == 1:
        said = {pins.KEEP_OUT: pins.KEEP_OUT_TEXT, **said}
    for path, text in said.items():
        yield Step(
            Rank.FORMAT,
            f"format/{path}",
            "update",
            "the layout of what is in bpffs",
            SetLink(path, text),
            (undo if before > 1 else Remove(path),),
            before,
            pins.FORMAT,
        )


def _other_cubes(wanted: State, live: State) -> Iterator[CubeRecord]:
    """The wanted cubes, without those that are known to be equal to the live ones."""
    if isinstance(wanted, Grouped) and isinstance(live, Grouped):
        groups = (group for cube, group in wanted.groups.items() if not group.is_known_to_be(live.groups.get(cube)))
        records: Iterable[Record] = (record for group in groups for record in group.values())
    else:
        records = wanted.values()
    return (record for record in records if isinstance(record, CubeRecord))


def _written(steps: Iterable[Step]) -> set[str]:
    """The pins that steps create: an orphan of an interrupted apply at one of them is replaced, not removed afterwards."""
    written: set[str] = set()
    for step in steps:
        if step.rank.phase != "retire":
            written.update(step.operation.occupies())
    return written


def _goes_with_its_cube(change: Change, doomed: set[str]) -> bool:
    """Parts of a cube that is removed need no step of their own: its directory is removed as a unit."""
    record = change.before
    return change.after is None and not isinstance(record, CubeRecord | HookRecord) and getattr(record, "cube", None) in doomed


def _rename_aside(wanted: CubeRecord, context: Context) -> Iterator[Step]:
    """Another service, hook or init-only leaf under an old name, or room for more ports: the old one forwards, aside, until the
    new one takes over."""
    old = context.state.get(wanted.address)
    if not isinstance(old, CubeRecord):
        return
    other = old.init and wanted.init and old.init != wanted.init
    room = [_room(state, old.name) for state in (context.state, context.desired.state)]
    if (old.service, old.type) == (wanted.service, wanted.type) and not other and (None in room or room[0] == room[1]):
        return
    now, then = (what(each) + (f" {each.init}" if other else "") for each in (old, wanted))
    if now == then:
        now, then = (f"{now} with {each} ways out" for each in room)
    home = pins.cube(old.name)
    away = context.unused(home + ASIDE)
    context.moved[home], context.altered = away, True
    rename = Rename(home, away)
    yield Step(
        Rank.RENAME_ASIDE,
        wanted.address,
        "replace",
        f"{now} becomes {then}",
        rename,
        (rename.inverse(),),
        now,
        then,
        Disruption.STATE_RESET,
    )
    yield Step(Rank.RETIRE, wanted.address, "delete", "was replaced", Remove(away))
    for address, record in list(context.state.items()):
        if getattr(record, "cube", None) == old.name or address == wanted.address:
            del context.state[address]
        elif isinstance(record, NextHopRecord) and record.target.startswith(f"{home}/"):
            context.state[address] = replace(record, target=away + record.target.removeprefix(home))
        elif isinstance(record, HookRecord) and record.stub.startswith(f"{home}/"):
            context.state[address] = replace(record, stub=away + record.stub.removeprefix(home))


def _room(state: State, cube: str) -> int | None:
    """The number of hops that fit into a cube's table."""
    hops = state.get(f"cube/{cube}/table/hops")
    return hops.spec[3] if isinstance(hops, TableRecord) else None


def annotate_blast_radius(steps: Iterable[Step], desired: Desired) -> list[Step]:
    """Name, for each disruptive step, the cubes next door that feel it."""
    found = list(steps)
    if any(step.disruption for step in found):
        from reconciler.graph import neighbours

        near = neighbours(desired.state)
        found = [replace(step, reaches=near.get(_cube_of(step.address), ())) if step.disruption else step for step in found]
    return found


def _cube_of(address: str) -> str:
    parts = address.split("/")
    return parts[1] if parts[0] in ("cube", "hook", "link") and len(parts) > 1 else ""
