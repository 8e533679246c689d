"""How ways in change: stubs, and chains of cubes that are linked into them.

Hooks and neighbours hold a stub's program, not its name. So a chain that changes is loaded beside the old one, its holders are
led to it one by one, each with one atomic write, and then it takes the name.
"""

from __future__ import annotations

from collections.abc import Iterator

from reconciler import pins
from reconciler.graph.diff import Change
from reconciler.graph.records import ChainPart, HookRecord, NextHopRecord, ProgramRecord, TrampolineRecord
from reconciler.graph.tables import scope_of, used_tables
from reconciler.plan.context import NEW, Context
from reconciler.plan.cube import promote
from reconciler.plan.steps import PROGRAM_LOADS, Operation, Rank, Step


def plan_trampoline(change: Change, context: Context) -> Iterator[Step]:
    record, before = change.after, change.before
    if not isinstance(record, TrampolineRecord):
        assert isinstance(before, TrampolineRecord)
        yield Step(Rank.RETIRE, change.address, "delete", "its port is gone", Operation("remove", {"path": before.path}))
    elif before is None:
        yield load_step(record, record.path, context)
    else:
        new = context.unused(record.path + NEW)
        context.rebuilt[record.path] = new
        yield load_step(record, new, context)
        for holder in context.referrers(record.path):
            yield _lead(holder, record, new)
        yield from promote(record, record.path, new)


def stale_chains(context: Context) -> list[Change]:
    """Chains that stay as they are, of which some table is another one now."""
    new = set(context.rebuilt.values())
    return [
        Change(record.address, record, record)
        for record in _chained(context)
        if new and context.state.get(record.address) == record
        and any(new & set(_tables(part, context).values()) for part in record.parts)
    ]


def refused_chains(context: Context) -> Iterator[str]:
    """Notes on chains that are wanted and that the verifier refused."""
    for record in _chained(context):
        before = context.live.state.get(record.address)
        if isinstance(before, TrampolineRecord) and before.refused and before == record:
            yield f"{_cubes(record)} go by hops, for the verifier refused them as one program"


def _chained(context: Context) -> Iterator[TrampolineRecord]:
    for address in context.desired.chains:
        record = context.desired.state.get(address)
        if isinstance(record, TrampolineRecord):
            yield record


def _cubes(record: TrampolineRecord) -> str:
    return ", ".join(part.cube for part in record.parts)


def load_step(record: TrampolineRecord, path: str, context: Context) -> Step:
    """Load a stub, or the chain that stands in its place, and pin it at `path`."""
    entry = f"{pins.cube(record.cube)}/{record.side}entry"
    row = pins.entry_row(record.direction)
    common = {"path": path, "flavour": record.flavour, "port": record.index, "row": row, "entry": entry}
    if record.parts:
        parts = [
            {
                "cube": part.cube,
                "object": part.object,
                "constants": part.constants.hex(),
                "maps": _tables(part, context),
                "port": part.index,
                "row": part.row,
            }
            for part in record.parts
        ]
        operation = Operation("load_chain", {**common, "chain": record.chain, "parts": parts})
        why = f"one program: {_cubes(record)}"
    else:
        operation = Operation("load_stub", common)
        why = (
            "the way back from the slow path"
            if record.direction == pins.INJECT
            else f"the way {pins.TRAMPOLINES[record.direction]} at {record.port}"
        )
    before = context.state.get(record.address)
    return Step(
        Rank.STUB,
        record.address,
        "create" if before is None else "update",
        why,
        operation,
        (Operation("remove", {"path": path}),),
        counts=PROGRAM_LOADS,
        count=1,
    )


def _lead(holder: HookRecord | NextHopRecord, record: TrampolineRecord, new: str) -> Step:
    """One holder of a stub to the program that comes in its place."""

    def to(path: str) -> Operation:
        if isinstance(holder, HookRecord):
            return Operation("update_hook", {"netdev": holder.netdev, "point": holder.point, "stub": path, "pin": holder.path})
        array = f"{pins.cube(holder.cube)}/{holder.side}next"
        return Operation("set_slot", {"path": array, "index": holder.row, "program": path})

    return Step(
        Rank.ATTACH if isinstance(holder, HookRecord) else Rank.PUBLISH,
        holder.address,
        "swap",
        "leads to what was linked anew",
        to(new),
        (to(record.path),),
    )


def _tables(part: ChainPart, context: Context) -> dict[str, str]:
    return maps_of(ProgramRecord(part.cube, part.side, part.direction, 0, part.object, part.constants), context)


def maps_of(record: ProgramRecord, context: Context) -> dict[str, str]:
    """The pin of every table that a program uses, by its name in C; '' for those of the generation."""
    objects = context.built_for(record.cube).objects
    compiled = context.objects[record.object]
    return {
        name: ""
        if name in pins.PER_GENERATION
        else _pin(pins.table(record.cube, name, scope_of(compiled.tables[name], objects.values()), record.side), context)
        for name in sorted(used_tables(compiled))
    }


def _pin(path: str, context: Context) -> str:
    return context.rebuilt.get(path, path)
