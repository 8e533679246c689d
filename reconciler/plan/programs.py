"""How programs change: a generation at a time, published by one write of the cube's entry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from reconciler import pins
from reconciler.graph.diff import Change
from reconciler.graph.records import ProgramRecord, TrampolineRecord
from reconciler.plan.context import Context
from reconciler.plan.operations import (
    ClearSlot,
    KeepProgram,
    LoadProgram,
    MakeDirectory,
    RecordGeneration,
    Remove,
    SetLink,
    SetSlot,
)
from reconciler.plan.steps import PROGRAM_LOADS, Rank, Step
from reconciler.plan.trampolines import load_step, maps_of


def plan_programs(changes: Iterable[Change], context: Context) -> Iterator[Step]:
    """Cubes of which a program, or a table that one uses, differs get a new generation."""
    touched = {change.after.cube for change in changes if isinstance(change.after, ProgramRecord)}
    touched |= {
        change.before.cube for change in changes if isinstance(change.before, ProgramRecord) and context.cube(change.before.cube)
    }
    rebuilt = set(context.rebuilt.values())
    for record in context.desired.state.values() if rebuilt else ():
        if isinstance(record, ProgramRecord) and record.cube not in touched and rebuilt & set(maps_of(record, context).values()):
            touched.add(record.cube)
    if not touched and not rebuilt:
        return
    programs: dict[str, list[ProgramRecord]] = {cube: [] for cube in sorted(touched)}
    for record in context.desired.state.values():
        if isinstance(record, ProgramRecord) and record.cube in touched:
            programs[record.cube].append(record)
    for cube, wanted in programs.items():
        yield from _generation(cube, wanted, context)
    entries = {path for path in context.rebuilt if path.endswith("/entry")}
    for record in context.desired.state.values():  # a stub holds its cube's entry: a new entry needs new stubs
        if (
            isinstance(record, TrampolineRecord)
            and not record.parts
            and record.address in context.state
            and f"{pins.cube(record.cube)}/{record.side}entry" in entries
        ):
            yield replace(load_step(record, record.path, context), action="replace")


def _generation(cube: str, wanted: list[ProgramRecord], context: Context) -> Iterator[Step]:
    fresh = cube in context.fresh
    old = 0 if fresh else context.live.generations.get(cube, 0)
    number = old + 1
    while not fresh and pins.generation(cube, number) in context.live.orphans:  # its programs may be the ones that run
        number += 1
    home, directory = pins.cube(cube), pins.generation(cube, number)
    address = f"cube/{cube}/generation/{number}"
    make = MakeDirectory(directory)
    yield Step(Rank.DIRECTORY, address, "create", "its programs change" if old else "is new", make, (make.inverse(),))
    names: dict[str, str] = {}
    called: dict[str, str] = {}
    calling = {record.side for record in wanted if "" in maps_of(record, context).values()}
    for record in wanted:
        kept = (
            not fresh
            and context.state.get(record.address) == record
            and not (set(maps_of(record, context).values()) & {"", *context.rebuilt.values()})
        )
        names[record.name] = record.object
        calls = f"{directory}/{record.side.replace('/', '_')}calls" if record.side in calling else ""
        if calls and record.direction != pins.INJECT:
            called[record.name] = calls.rpartition("/")[2]
        yield from _load(record, directory, pins.generation(cube, old) if kept else "", calls, context)
        yield _swap(record, directory, pins.generation(cube, old) if old else "", fresh, address)
    yield Step(Rank.NEW_ENTRY, address, "record", "what was loaded", RecordGeneration(directory, names, called))
    rank = Rank.NEW_CUBE if fresh else Rank.NAMES
    undo = SetLink(f"{home}/current", f"g{old}") if old else Remove(f"{home}/current")
    yield Step(rank, address, "commit", "in force", SetLink(f"{home}/current", f"g{number}"), (undo,))
    if old:
        yield Step(Rank.RETIRE, address, "delete", "was replaced", Remove(pins.generation(cube, old)))


def _load(record: ProgramRecord, directory: str, kept: str, calls: str, context: Context) -> Iterator[Step]:
    """`kept`: the generation that has this very program already. `calls`: the program array by which µCubes continue in
    others, if any program of this generation does; all are in it, including those that continue nowhere."""
    path = f"{directory}/{record.name}"
    calls, row = "" if record.direction == pins.INJECT else calls, pins.entry_row(record.direction, record.index)
    if kept:
        keep = KeepProgram(path, f"{kept}/{record.name}", calls, row)
        yield Step(Rank.PROGRAM, record.address, "keep", "does not change", keep)
        return
    before = context.state.get(record.address)
    why = (
        "is new"
        if not isinstance(before, ProgramRecord)
        else ("its constants change" if before.object == record.object else "its code changes")
    )
    yield Step(
        Rank.PROGRAM,
        record.address,
        "create" if before is None else "update",
        why,
        LoadProgram(
            path, record.object, record.constants, maps_of(record, context), calls, row, f"{record.cube}_{record.name}"
        ),
        before=before.object[:12] if isinstance(before, ProgramRecord) else None,
        after=record.object[:12],
        counts=PROGRAM_LOADS,
        count=1,
    )


def _swap(record: ProgramRecord, directory: str, old: str, fresh: bool, address: str) -> Step:
    slot = pins.entry_row(record.direction, record.index)
    entry = f"{pins.cube(record.cube)}/{record.side}entry"
    undo = SetSlot(entry, slot, f"{old}/{record.name}") if old else ClearSlot(entry, slot)
    return Step(
        Rank.NEW_ENTRY if fresh else Rank.PUBLISH,
        record.address,
        "swap" if old else "enter",
        "becomes the cube's entry",
        SetSlot(entry, slot, f"{directory}/{record.name}"),
        () if fresh else (undo,),  # a new cube's directory goes as a whole
    )
