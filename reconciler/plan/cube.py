"""Changes of a cube's own objects: the cube, its ports, and the document that it is from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from reconciler import pins
from reconciler.graph.diff import Change
from reconciler.graph.records import GONE, CubeRecord, NextHopRecord, PortRecord, Record, TopologyRecord, WaitingRecord
from reconciler.plan.context import Context, what
from reconciler.plan.learned import forget_learned
from reconciler.plan.operations import MakeDirectory, Operation, Remove, RemoveCube, SetDocument, SetLink
from reconciler.plan.steps import Disruption, Rank, Step


def plan_cube(change: Change, context: Context) -> Iterator[Step]:
    before, after = change.before, change.after
    if isinstance(before, CubeRecord) and isinstance(after, CubeRecord):
        return _updated(change.address, before, after, context)
    if isinstance(after, CubeRecord):
        return _created(change.address, after, context)
    assert isinstance(before, CubeRecord)
    return _removed(change.address, before)


def _removed(address: str, record: CubeRecord) -> Iterator[Step]:
    disruption = Disruption.NONE if pins.is_shadow(record.name) else Disruption.STATE_RESET
    remove = RemoveCube(pins.cube(record.name))
    yield Step(Rank.RETIRE, address, "delete", "no longer in a topology", remove, before=what(record), disruption=disruption)


def _created(address: str, record: CubeRecord, context: Context) -> Iterator[Step]:
    home = pins.cube(record.name)
    if home in context.live.orphans:  # nothing refers to a cube that was never finished
        context.cleared.add(home)
        yield Step(Rank.DIRECTORY, f"leftover/{home}", "delete", "left by an interrupted apply", Remove(home))
    make = MakeDirectory(home)
    yield Step(Rank.DIRECTORY, address, "create", "in the topology", make, (make.inverse(),), after=what(record))
    yield Step(Rank.DIRECTORY, address, "create", "in the topology", SetLink(f"{home}/about", _about(record)))


def _updated(address: str, before: CubeRecord, after: CubeRecord, context: Context) -> Iterator[Step]:
    home = pins.cube(after.name)
    write, undo = SetLink(f"{home}/about", _about(after)), SetLink(f"{home}/about", _about(before))
    yield Step(Rank.NAMES, address, "update", _why(before, after), write, (undo,), before.topology, after.topology)
    if before.topology == GONE:  # `about` or `current` was lost
        current = f"g{context.live.generations.get(after.name, 0)}"
        yield Step(Rank.NAMES, address, "restore", "names what is in force", SetLink(f"{home}/current", current))


def _why(before: CubeRecord, after: CubeRecord) -> str:
    if before.topology != after.topology:
        return "belongs to another topology now"
    if before.fuse != after.fuse:
        return "is to be fused or not"
    return "its C, or a filter in it, is another" if before.sources != after.sources else "notes its init-only leaves"


def _about(record: CubeRecord) -> str:
    said: dict[str, Any] = {"service": record.service, "topology": record.topology, "type": record.type}
    said = said if record.fuse else {**said, "fuse": False}
    said |= {"sources": record.sources} if record.sources else {}
    return json.dumps({**said, "init": record.init} if record.init else said)


def plan_port(change: Change, context: Context) -> Iterator[Step]:
    record = change.after or change.before
    assert isinstance(record, PortRecord)
    path = pins.port(record.cube, record.name)
    undo = SetLink(path, change.before.peer) if isinstance(change.before, PortRecord) else Remove(path)
    if change.after is None:
        # First: while the port has its name, an interrupted apply is taken up again.
        yield from forget_learned(record, f"learned at port {record.name}, which is gone", context)
        yield Step(
            Rank.NAMES,
            change.address,
            "delete",
            "no longer in the topology",
            Remove(path),
            (undo,),
            record.peer,
        )
        return
    before = change.before.peer if isinstance(change.before, PortRecord) else None
    if before not in (None, "-") and not _leads_there_already(record, context):
        yield from forget_learned(record, f"learned at port {record.name}, which leads elsewhere now", context)
    rank = Rank.NEW_HOP if record.cube in context.fresh else Rank.NAMES
    yield Step(
        rank,
        change.address,
        change.action,
        "names its peer",
        SetLink(path, record.peer),
        (undo,),
        before,
        record.peer,
    )


def plan_waiting(change: Change, context: Context) -> Iterator[Step]:
    record = change.after or change.before
    assert isinstance(record, WaitingRecord)
    path = pins.waits(record.cube)

    def to(waiting: Record | None) -> Operation:
        if not isinstance(waiting, WaitingRecord):
            return Remove(path)
        return SetLink(path, f"{waiting.place} {waiting.at}")

    yield Step(
        Rank.NEW_HOP if record.cube in context.fresh else Rank.NAMES,
        change.address,
        change.action,
        "waits for its netdev or for its port's peer" if change.after else "waits no more",
        to(change.after),
        (to(change.before),),
        getattr(change.before, "at", None),
        getattr(change.after, "at", None),
    )


def _leads_there_already(port: PortRecord, context: Context) -> bool:
    """Whether the peer is a netdev that the hop refers to already: it was renamed, and nothing else."""
    address = f"cube/{port.cube}/hop/{port.index}"
    wanted = context.desired.state.get(address)
    return isinstance(wanted, NextHopRecord) and wanted.kind == "netdev" and context.state.get(address) == wanted


def plan_document(change: Change, context: Context) -> Iterator[Step]:
    record = change.after or change.before
    assert isinstance(record, TopologyRecord)
    path = pins.topology(record.name)

    def to(kept: Record | None) -> Operation:
        return SetDocument(path, kept.document) if isinstance(kept, TopologyRecord) else Remove(path)

    back = (to(change.before),)
    yield Step(Rank.DOCUMENT, change.address, change.action, "the applied document", to(change.after), back)
