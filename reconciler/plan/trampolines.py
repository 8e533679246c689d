"""Changes of the entry points: stubs, and chains of cubes that are linked into them.

Hooks and neighbours hold a stub's program, not its name. So a chain that changes is loaded beside the old one, its holders
are switched to it one by one, each with one atomic write, and then it is renamed.
"""

from __future__ import annotations

from collections.abc import Iterator

from reconciler import pins
from reconciler.graph.diff import Change
from reconciler.graph.records import ChainPart, HookRecord, NextHopRecord, ProgramRecord, TrampolineRecord
from reconciler.graph.tables import scope_of, used_tables
from reconciler.plan.context import NEW, Context
from reconciler.plan.notes import chained, cubes_of_chain
from reconciler.plan.operations import LinkedCube, LoadChain, LoadStub, Operation, Remove, SetSlot, UpdateHook
from reconciler.plan.steps import PROGRAM_LOADS, Rank, Step
from reconciler.plan.tables import promote


def plan_trampoline(change: Change, context: Context) -> Iterator[Step]:
    record, before = change.after, change.before
    if not isinstance(record, TrampolineRecord):
        assert isinstance(before, TrampolineRecord)
        yield Step(Rank.RETIRE, change.address, "delete", "its port is gone", Remove(before.path))
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
        for record in chained(context.desired)
        if new and context.state.get(record.address) == record
        and any(new & set(_tables(part, context).values()) for part in record.parts)
    ]


def load_step(record: TrampolineRecord, path: str, context: Context) -> Step:
    """Load a stub, or the chain that replaces it, and pin it at `path`."""
    entry = f"{pins.cube(record.cube)}/{record.side}entry"
    row = pins.entry_row(record.direction)
    load = LoadStub(path, record.flavour, record.index, row, entry)
    if record.parts:
        parts = tuple(
            LinkedCube(part.cube, part.object, part.constants, _tables(part, context), part.index, part.row)
            for part in record.parts
        )
        load = LoadChain(path, record.flavour, record.index, row, entry, record.chain, parts)
        why = f"one program: {cubes_of_chain(record)}"
    else:
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
        load,
        (load.inverse(),),
        counts=PROGRAM_LOADS,
        count=1,
    )


def _lead(holder: HookRecord | NextHopRecord, record: TrampolineRecord, new: str) -> Step:
    """Switch one holder of a stub to the new program."""

    def to(path: str) -> Operation:
        if isinstance(holder, HookRecord):
            return UpdateHook(holder.netdev, holder.point, holder.path, path)
        array = f"{pins.cube(holder.cube)}/{holder.side}next"
        return SetSlot(array, holder.row, path)

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
