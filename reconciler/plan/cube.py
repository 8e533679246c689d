"""How changes of a cube's own objects are made: cube, ports, tables and their rows, stubs, documents."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from reconciler import pins
from reconciler.graph.diff import Change, RowChanges, diff_rows
from reconciler.graph.records import (
    GONE,
    CubeRecord,
    NextHopRecord,
    PortRecord,
    Record,
    TableRecord,
    TopologyRecord,
    TrampolineRecord,
    WaitingRecord,
)
from reconciler.plan.context import ASIDE, NEW, Context, what
from reconciler.plan.learned import forget_learned, record_address
from reconciler.plan.migrate import carry_over, disruption_of
from reconciler.plan.steps import MAP_WRITES, Disruption, Operation, Rank, Step
from reconciler.service.model.owned import owned_by


def plan_cube(change: Change, context: Context) -> Iterator[Step]:
    record = change.after
    if not isinstance(record, CubeRecord):
        assert isinstance(change.before, CubeRecord)
        yield Step(
            Rank.RETIRE,
            change.address,
            "delete",
            "no longer in a topology",
            Operation("remove_cube", {"path": pins.cube(change.before.name)}),
            before=what(change.before),
            disruption=Disruption.NONE if pins.is_shadow(change.before.name) else Disruption.STATE_RESET,
        )
        return
    home = pins.cube(record.name)
    about = _about(record)
    if change.before is None:
        if home in context.live.orphans:  # nothing refers to a cube that was never finished
            context.cleared.add(home)
            yield Step(
                Rank.DIRECTORY,
                f"leftover/{home}",
                "delete",
                "left by an interrupted apply",
                Operation("remove", {"path": home}),
            )
        yield Step(
            Rank.DIRECTORY,
            change.address,
            "create",
            "in the topology",
            Operation("make_directory", {"path": home}),
            (Operation("remove", {"path": home}),),
            after=what(record),
        )
        yield Step(
            Rank.DIRECTORY,
            change.address,
            "create",
            "in the topology",
            Operation("set_link", {"path": f"{home}/about", "text": about}),
        )
        return
    assert isinstance(change.before, CubeRecord)
    yield Step(
        Rank.NAMES,
        change.address,
        "update",
        _why(change.before, record),
        Operation("set_link", {"path": f"{home}/about", "text": about}),
        (Operation("set_link", {"path": f"{home}/about", "text": _about(change.before)}),),
        change.before.topology,
        record.topology,
    )
    if change.before.topology == GONE:  # `about` or `current` was lost
        current = f"g{context.live.generations.get(record.name, 0)}"
        yield Step(
            Rank.NAMES,
            change.address,
            "restore",
            "names what is in force",
            Operation("set_link", {"path": f"{home}/current", "text": current}),
        )


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
    undo = (
        Operation("set_link", {"path": path, "text": change.before.peer})
        if isinstance(change.before, PortRecord)
        else Operation("remove", {"path": path})
    )
    if change.after is None:
        # First: while the port has its name, an interrupted apply is taken up again.
        yield from forget_learned(record, f"learned at port {record.name}, which is gone", context)
        yield Step(
            Rank.NAMES,
            change.address,
            "delete",
            "no longer in the topology",
            Operation("remove", {"path": path}),
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
        Operation("set_link", {"path": path, "text": record.peer}),
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
            return Operation("remove", {"path": path})
        return Operation("set_link", {"path": path, "text": f"{waiting.place} {waiting.at}"})

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
    """Whether the peer is a netdev that packets go to already: it was renamed, and nothing else."""
    address = f"cube/{port.cube}/hop/{port.index}"
    wanted = context.desired.state.get(address)
    return isinstance(wanted, NextHopRecord) and wanted.kind == "netdev" and context.state.get(address) == wanted


def forget_owned(record: TableRecord, keys: Sequence[bytes], context: Context) -> Iterator[Step]:
    """Rows of state go with the rows that own them: once those are gone and no packet is at hand that saw one, so that none
    comes back, and an apply that fails has lost nothing."""
    cube = context.cube(record.cube)
    service = context.services.get(cube.service) if cube else None
    if cube is None or service is None:
        return
    tables = context.built_for(record.cube).tables
    for owned in owned_by(record.name, service.bindings, tables):
        if record_address(record.cube, owned.table, tables) in context.desired.state:
            path = pins.table(record.cube, owned.table, tables[owned.table].scope)
            fields = {"fields": [list(each) for each in owned.fields], "values": owned.values(keys)}
            yield Step(
                Rank.RETIRE,
                f"cube/{record.cube}/table/{owned.table}",
                "forget",
                f"owned by rows of {record.name} that go",
                Operation("purge_rows", {"path": path, **fields}),
            )


def plan_table(change: Change, context: Context) -> Iterator[Step]:
    record, before = change.after, change.before
    if not isinstance(record, TableRecord):
        assert isinstance(before, TableRecord)
        if not before.cube and context.live.sealed:
            return  # cubes that we know nothing of may use what is the whole host's
        yield Step(Rank.RETIRE, change.address, "delete", "no program uses it", Operation("remove", {"path": before.path}))
        return
    path, rank = record.path, Rank.ROWS_OF_NEW if record.cube in context.growing else Rank.ROWS
    live = before if isinstance(before, TableRecord) else None
    lost = live is None and record.path in context.live.adoptable
    if lost:
        yield Step(
            Rank.TABLE,
            change.address,
            "adopt",
            "its pin is gone, the table is not",
            Operation("adopt_map", {"path": path, "id": context.live.adoptable[path]}),
            (Operation("remove", {"path": path}),),
        )
        live = context.live.adopted.get(path)
    elif live is None or live.spec != record.spec or live.relaid:
        rank = Rank.POPULATE
        path += NEW if live is not None else ""
        context.rebuilt[record.path] = path
        yield Step(
            Rank.TABLE,
            change.address,
            "create" if live is None else "replace",
            "is needed" if live is None else "has another shape" if live.spec != record.spec else "has other fields",
            Operation("create_map", {"path": path, "spec": list(record.spec), "name": record.name, **_types(record)}),
            (Operation("remove", {"path": path}),),
            None if live is None else list(live.spec),
            list(record.spec),
            Disruption.NONE if live is None else disruption_of(live, record, context),
        )
        if live is not None:
            yield from promote(record, record.path, path)
    if record.rows is not None:
        yield from _plan_rows(record, live, path, rank, context)
    if live is not None and path != record.path:
        yield from carry_over(live, record, path, record.path + ASIDE, context)


def _types(record: TableRecord) -> dict[str, str]:
    return {"btf": record.btf.hex()} if record.btf else {}


def promote(record: TableRecord | TrampolineRecord, path: str, new: str) -> Iterator[Step]:
    """What was made anew takes its old one's name once those that use it are in place."""
    old = path + ASIDE
    for source, target in ((path, old), (new, path)):
        yield Step(
            Rank.NAMES,
            record.address,
            "rename",
            "takes over",
            Operation("rename", {"path": source, "to": target}),
            (Operation("rename", {"path": target, "to": source}),),
        )
    yield Step(Rank.RETIRE, record.address, "delete", "was replaced", Operation("remove", {"path": old}))


def _renewed(rows: RowChanges, init: bytes) -> list[bytes]:
    """The rows in which an init-only leaf is another: a whole row takes the place of the old one at once."""
    mask = int.from_bytes(init, "little")

    def changed(key: bytes) -> bool:
        return bool((int.from_bytes(rows.before[key], "little") ^ int.from_bytes(rows.write[key], "little")) & mask)

    return [key for key in rows.write if key in rows.before and changed(key)] if mask else []


def _write(
    record: TableRecord, rank: Rank, path: str, written: Mapping[bytes, bytes], rows: RowChanges, *, anew: bool = False
) -> Step:
    """Write the configuration's bits of rows; `anew`: all of them, so that nothing stays of what was counted."""
    common, mask = {"path": path, "mask": record.mask.hex()}, "ff" * len(record.mask) if anew else record.mask.hex()
    old = {key.hex(): rows.before[key].hex() for key in written if key in rows.before}
    undo = [Operation("write_rows", {**common, "rows": old})] if old else []
    new = [key.hex() for key in written if key not in rows.before]
    undo += [Operation("delete_rows", {"path": path, "keys": new, "sparse": record.sparse})] if new else []
    return Step(
        rank,
        record.address,
        "replace" if anew else "write",
        "an init-only leaf is another" if anew else "configuration",
        Operation("write_rows", {**common, "mask": mask, "rows": _hex(written)}),
        tuple(undo),
        old or None,
        _hex(written),
        Disruption.STATE_RESET if anew else Disruption.NONE,
        MAP_WRITES,
        len(written),
    )


def _plan_rows(record: TableRecord, live: TableRecord | None, path: str, rank: Rank, context: Context) -> Iterator[Step]:
    rows = diff_rows(record, live)
    if record.bits:
        yield from _plan_bits(record, path, rows)
        return
    rank = Rank.POPULATE if record.staged else rank
    common = {"path": path, "mask": record.mask.hex()}
    renewed = _renewed(rows, record.init)
    if renewed:
        yield _write(record, rank, path, {key: rows.write[key] for key in renewed}, rows, anew=True)
        yield from forget_owned(record, renewed, context)
    if written := {key: value for key, value in rows.write.items() if key not in renewed} if renewed else rows.write:
        yield _write(record, rank, path, written, rows)
    if rows.delete:
        gone = {key.hex(): rows.before[key].hex() for key in rows.delete}
        yield Step(
            Rank.RETIRE if record.staged else rank,
            record.address,
            "delete",
            "no longer configured",
            Operation("delete_rows", {"path": path, "keys": list(gone), "sparse": record.sparse}),
            (Operation("write_rows", {**common, "rows": gone}),),
            gone,
            None,
            Disruption.NONE,
            MAP_WRITES,
            len(gone),
        )
        yield from forget_owned(record, rows.delete, context)


def _plan_bits(record: TableRecord, path: str, rows: RowChanges) -> Iterator[Step]:
    """First the bits of both, then the new ones alone: a packet that finds a bit clear is right at any time between."""
    nothing = bytes(len(record.mask))
    after = {**rows.write, **dict.fromkeys(rows.delete, nothing)}
    both = {key: _either(value, rows.before.get(key, nothing)) for key, value in after.items()}
    if more := {key: value for key, value in both.items() if value != rows.before.get(key, nothing)}:
        yield _write(record, Rank.POPULATE, path, more, rows)
    if less := {key: value for key, value in after.items() if value != both[key]}:
        yield _write(record, Rank.CLEAR, path, less, replace(rows, before=both))


def _either(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one, "little") | int.from_bytes(other, "little")).to_bytes(len(one), "little")


def _hex(rows: Mapping[bytes, bytes]) -> dict[str, str]:
    return {key.hex(): value.hex() for key, value in rows.items()}


def plan_document(change: Change, context: Context) -> Iterator[Step]:
    record = change.after or change.before
    assert isinstance(record, TopologyRecord)
    path = pins.topology(record.name)
    undo = (
        Operation("set_document", {"path": path, "text": change.before.document})
        if isinstance(change.before, TopologyRecord)
        else Operation("remove", {"path": path})
    )
    wanted = (
        Operation("set_document", {"path": path, "text": change.after.document})
        if isinstance(change.after, TopologyRecord)
        else Operation("remove", {"path": path})
    )
    yield Step(Rank.DOCUMENT, change.address, change.action, "the applied document", wanted, (undo,))
