"""Changes of a packet's path: hops, flood members, hooks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler import pins
from reconciler.graph.diff import Change
from reconciler.graph.records import GONE, HookRecord, MemberRecord, NextHopRecord, PortRecord, Record, TrampolineRecord
from reconciler.graph.wiring import is_hidden
from reconciler.model import family_of
from reconciler.plan.learned import forget_learned
from reconciler.plan.operations import AttachHook, DetachHook, MoveHook, Remove, SetHop, SetMember, UpdateHook
from reconciler.plan.steps import LINK_CHANGES, Disruption, Rank, Step

if TYPE_CHECKING:
    from reconciler.plan.context import Context


def plan_next_hop(change: Change, context: Context) -> Iterator[Step]:
    record = change.after or change.before
    assert isinstance(record, NextHopRecord)
    old = change.before if isinstance(change.before, NextHopRecord) else None
    new = change.after if isinstance(change.after, NextHopRecord) else None
    fresh = record.cube in context.fresh
    idle = new is None and (not context.is_reachable(record.cube) or _is_of_no_place(record, context))
    rank = Rank.RETIRE if idle else Rank.REMOVE_NEXT_HOP if new is None else Rank.NEW_HOP if fresh else Rank.HOP
    is_dead = old is not None and old.target.startswith(GONE)  # what went there is lost already
    home = pins.cube(record.cube)
    led = replace(new, target=context.rebuilt.get(new.target, new.target)) if new else None
    before, after = next_hop_operation(home, record, old), next_hop_operation(home, record, led)
    yield Step(
        rank,
        change.address,
        change.action,
        "leads elsewhere" if old and new else "leads nowhere now" if old else "leads on",
        after,
        () if fresh or idle else (before,),  # a new cube's directory goes as a whole, and what retires stays so
        _target(old),
        _target(new),
        Disruption.PACKETS_LOST if new is None and not idle and not is_dead else Disruption.NONE,
        LINK_CHANGES,
        1,
    )
    port = _port_behind_another_netdev(old, new, context)
    if port is not None:
        yield from forget_learned(port, f"learned at port {port.name}, whose netdev is another one now", context)


def _is_of_no_place(record: NextHopRecord, context: Context) -> bool:
    """Whether a row belongs to a place where a transparent cube no longer is: by then no packet arrives there."""
    cube = context.cube(record.cube)
    service = context.services.get(cube.service) if cube is not None else None
    if service is None or service.kind != "transparent":
        return False
    stubs = (r for r in context.desired.state.values() if isinstance(r, TrampolineRecord) and r.cube == record.cube)
    return all(stub.index != record.row ^ 1 for stub in stubs)


def _port_behind_another_netdev(old: NextHopRecord | None, new: NextHopRecord | None, context: Context) -> PortRecord | None:
    """The port whose peer is called as before, but is another netdev: two have exchanged their names. If its peer is called
    otherwise too, what it learned is forgotten for that."""
    if old is None or new is None or old.kind != "netdev" or new.kind != "netdev" or old.target.startswith(GONE):
        return None
    for record in context.desired.state.values():
        if isinstance(record, PortRecord) and (record.cube, record.index) == (new.cube, new.row):
            return record if context.state.get(record.address) == record else None
    return None


def next_hop_operation(home: str, record: NextHopRecord, to: NextHopRecord | None) -> SetHop:
    kind, target = (to.kind, to.target) if to is not None else ("none", "")
    if target.startswith(GONE):
        kind, target = "none", ""
    return SetHop(f"{home}/{record.side}", record.row, kind, target)


def _target(record: NextHopRecord | None) -> str | None:
    return None if record is None else f"{record.kind} {record.target}".strip()


def plan_member(change: Change, context: Context) -> Iterator[Step]:
    record = change.after or change.before
    assert isinstance(record, MemberRecord)
    cube = context.cube(record.cube)
    family = "TC" if cube is None or record.side == pins.TWIN else family_of(cube.type)
    home = f"{pins.cube(record.cube)}/{record.side}".rstrip("/")
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


def member_operation(home: str, family: str, index: int, member: Record | None) -> SetMember:
    """Row `index` of a flood table as `member` has it; empty if that is none, or names a netdev that no longer exists."""
    if not isinstance(member, MemberRecord) or member.netdev.startswith(GONE):
        return SetMember(home, family, index)
    return SetMember(home, family, index, member.netdev, member.far)


def plan_hook(change: Change, context: Context) -> Iterator[Step]:
    old = change.before if isinstance(change.before, HookRecord) else None
    new = change.after if isinstance(change.after, HookRecord) else None
    if old is not None and new is not None and old.stub != GONE and old.mode == new.mode:
        if old.stub != new.stub:
            yield _update_hook(old, new, context)
        yield from _move_hook(new, old.path, context)
        return
    if old is not None and new is not None and old.stub != GONE:
        yield _change_mode(old, new)
    if new is not None:
        pin = new.path if _is_free(new.path, old, context) else f"{new.path}~"
        yield _attach_hook(old, new, pin, context)
        yield from _move_hook(new, pin, context)
        if old is not None and old.stub == GONE and old.path != pin:
            yield Step(Rank.RETIRE, change.address, "delete", "its netdev is gone", Remove(old.path))
    elif old is not None:
        yield _detach_hook(old, context)


def _attach(record: HookRecord, stub: str, pin: str = "") -> AttachHook:
    return AttachHook(record.netdev, record.point, pin or record.path, stub, record.mode)


def _detach(record: HookRecord) -> DetachHook:
    return DetachHook(record.netdev, record.point, record.path)


def _is_free(path: str, own: HookRecord | None, context: Context) -> bool:
    """Whether no other hook is pinned there, of a netdev that had this name before."""
    other = context.hook_at(path)
    return other is None or (own is not None and other.address == own.address)


def _update_hook(old: HookRecord, new: HookRecord, context: Context) -> Step:

    def to(stub: str) -> UpdateHook:
        return UpdateHook(new.netdev, new.point, old.path, stub)

    return Step(
        Rank.ATTACH,
        new.address,
        "update",
        "leads to another program",
        to(context.rebuilt.get(new.stub, new.stub)),
        (to(old.stub),),
        old.stub,
        new.stub,
        counts=LINK_CHANGES,
        count=1,
    )


def _move_hook(new: HookRecord, pin: str, context: Context) -> Iterator[Step]:
    """Pin a hook under its netdev's name; beside that as long as another hook is there, so that names can be exchanged."""

    def step(rank: Rank, path: str, to: str) -> Step:
        move = MoveHook(path, to)
        return Step(rank, new.address, "update", "its netdev was renamed", move, (move.inverse(),))

    if pin == new.path:
        return
    if _is_free(new.path, new, context):
        yield step(Rank.NAMES, pin, new.path)
        return
    aside = f"{new.path}~"
    if pin != aside:
        yield step(Rank.NAMES, pin, aside)
    yield step(Rank.HOOK_NAMES, aside, new.path)


def _change_mode(old: HookRecord, new: HookRecord) -> Step:
    return Step(
        Rank.ATTACH,  # of both steps: the old one must be gone when the new one comes
        new.address,
        "replace",
        f"XDP mode {old.mode or 'none'} becomes {new.mode}",
        _detach(old),
        (_attach(old, old.stub),),
        disruption=Disruption.PACKETS_LOST,
    )


def _attach_hook(old: HookRecord | None, new: HookRecord, pin: str, context: Context) -> Step:
    """A hidden netdev's hook is ready before the first flooded copy is sent there."""
    replaced = old is not None and old.stub != GONE
    attach = _attach(new, context.rebuilt.get(new.stub, new.stub), pin)
    return Step(
        Rank.NEW_HOP if is_hidden(new.netdev) and not replaced else Rank.ATTACH,
        new.address,
        "create" if old is None else "restore",
        "leads to its cube" if old is None else "its netdev was made anew",
        attach,
        (attach.inverse(),),
        old.stub if old else None,
        new.stub,
        counts=LINK_CHANGES,
        count=1,
    )


def _detach_hook(old: HookRecord, context: Context) -> Step:
    """A hidden netdev's hook stays until after the last flooded copy."""
    from reconciler.plan.ways import way

    hidden = is_hidden(old.netdev)
    there = old.netdev in context.live.netdevs and old.stub != GONE and not hidden
    # What only looked at packets on their way to the host lets them pass by when it goes; a cube's port takes them along.
    lost = there and (old.mode == "drv" or not way(old.stub, context.live.state, context.services).host)
    return Step(
        Rank.RETIRE if hidden else Rank.DETACH,
        old.address,
        "delete",
        "nothing is wanted here",
        _detach(old),
        () if hidden else (_attach(old, old.stub) if old.stub != GONE else _detach(old),),
        old.stub,
        None,
        Disruption.PACKETS_LOST if lost else Disruption.NONE,
        LINK_CHANGES,
        1,
    )
