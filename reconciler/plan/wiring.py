"""How changes of a packet's way are made: hops, flood members, hooks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from reconciler import pins
from reconciler.graph.diff import Change
from reconciler.graph.records import GONE, HookRecord, HopRecord, MemberRecord
from reconciler.graph.wiring import is_hidden
from reconciler.plan.steps import LINK_CHANGES, Disruption, Operation, Rank, Step

if TYPE_CHECKING:
    from reconciler.plan.context import Context


def plan_hop(change: Change, context: Context) -> Iterator[Step]:
    record = change.after or change.before
    assert isinstance(record, HopRecord)
    old = change.before if isinstance(change.before, HopRecord) else None
    new = change.after if isinstance(change.after, HopRecord) else None
    fresh = record.cube in context.fresh
    idle = new is None and not context.is_led_to(record.cube)
    rank = Rank.RETIRE if idle else Rank.UNHOP if new is None else Rank.NEW_HOP if fresh else Rank.HOP
    home = pins.cube(record.cube)
    led = replace(new, target=context.rebuilt.get(new.target, new.target)) if new else None
    before, after = hop_operation(home, record, old), hop_operation(home, record, led)
    yield Step(
        rank,
        change.address,
        change.action,
        "leads elsewhere" if old and new else "leads nowhere now" if old else "leads on",
        after,
        () if fresh or idle else (before,),  # a new cube's directory goes as a whole, and what retires stays so
        _target(old),
        _target(new),
        Disruption.PACKETS_LOST if new is None and not idle else Disruption.NONE,
        LINK_CHANGES,
        1,
    )


def hop_operation(home: str, record: HopRecord, to: HopRecord | None) -> Operation:
    kind, target = (to.kind, to.target) if to is not None else ("none", "")
    if target.startswith(GONE):
        kind, target = "none", ""
    return Operation("set_hop", {"home": f"{home}/{record.side}", "row": record.row, "kind": kind, "target": target})


def _target(record: HopRecord | None) -> str | None:
    return None if record is None else f"{record.kind} {record.target}".strip()


def plan_member(change: Change, context: Context) -> Iterator[Step]:
    record = change.after or change.before
    assert isinstance(record, MemberRecord)
    cube = context.cube(record.cube)
    family = "TC" if cube is None or cube.type == "TC" else "XDP"

    home = pins.cube(record.cube)
    fresh = record.cube in context.fresh
    yield Step(
        Rank.NEW_HOP if fresh else Rank.MEMBER,
        change.address,
        change.action,
        "is flooded to",
        member_operation(home, family, record.index, change.after),
        () if fresh else (member_operation(home, family, record.index, change.before),),
        getattr(change.before, "netdev", None),
        getattr(change.after, "netdev", None),
        counts="" if fresh else LINK_CHANGES,
        count=0,
    )


def member_operation(home: str, family: str, index: int, member: Any) -> Operation:
    """Row `index` of a flood table as `member` has it; empty if that is none, or names a netdev that is gone."""
    gone = not isinstance(member, MemberRecord) or member.netdev.startswith(GONE)
    ends = {"netdev": "", "far": ""} if gone else {"netdev": member.netdev, "far": member.far}
    return Operation("set_member", {"home": home, "family": family, "index": index, **ends})


def plan_hook(change: Change, context: Context) -> Iterator[Step]:
    record = change.after or change.before
    assert isinstance(record, HookRecord)
    old = change.before if isinstance(change.before, HookRecord) else None
    new = change.after if isinstance(change.after, HookRecord) else None
    place = {"netdev": record.netdev, "point": record.point}
    hidden = is_hidden(record.netdev)  # flooded copies go through it: ready before the first one, and until after the last
    if old is not None and new is not None and old.stub != GONE and old.mode == new.mode:
        yield Step(
            Rank.ATTACH,
            change.address,
            "update",
            "leads to another program",
            Operation("update_hook", {**place, "stub": context.rebuilt.get(new.stub, new.stub)}),
            (Operation("update_hook", {**place, "stub": old.stub}),),
            old.stub,
            new.stub,
            counts=LINK_CHANGES,
            count=1,
        )
        return
    detach = Operation("detach_hook", place)
    stub = context.rebuilt.get(new.stub, new.stub) if new else ""
    attached = Operation("attach_hook", {**place, "stub": stub, "mode": new.mode}) if new else detach
    restore = Operation("attach_hook", {**place, "stub": old.stub, "mode": old.mode}) if old and old.stub != GONE else detach
    rank = Rank.NEW_HOP if hidden else Rank.ATTACH
    if old is not None and new is not None and old.stub != GONE:
        rank = Rank.ATTACH  # of both steps: the old one must be gone when the new one comes
        yield Step(
            Rank.ATTACH,
            change.address,
            "replace",
            f"XDP mode {old.mode or 'none'} becomes {new.mode}",
            detach,
            (restore,),
            disruption=Disruption.PACKETS_LOST,
        )
        restore = detach
    if new is None:
        there = record.netdev in context.live.netdevs and old is not None and old.stub != GONE and not hidden
        yield Step(
            Rank.RETIRE if hidden else Rank.DETACH,
            change.address,
            "delete",
            "nothing is wanted here",
            detach,
            () if hidden else (restore,),
            old.stub if old else None,
            None,
            Disruption.PACKETS_LOST if there else Disruption.NONE,
            LINK_CHANGES,
            1,
        )
    else:
        yield Step(
            rank,
            change.address,
            "create" if old is None else "restore",
            "leads to its cube" if old is None else "its netdev was made anew",
            attached,
            (restore,) if old is None or old.stub != GONE else (detach,),
            old.stub if old else None,
            new.stub,
            counts=LINK_CHANGES,
            count=1,
        )
