"""Changes around the cubes: namespaces, netdevs, offloads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from reconciler import pins
from reconciler.graph.diff import Change
from reconciler.graph.records import GONE, LinkRecord, NamespaceRecord, OffloadRecord, PromiscuousRecord
from reconciler.model import Link, LinkEnd
from reconciler.plan.operations import (
    ClaimLink,
    ConfigureEnd,
    CreateLink,
    CreateNamespace,
    DeleteLinks,
    Operation,
    Remove,
    SetOffload,
    SetPromiscuous,
    TellEnd,
)
from reconciler.plan.steps import LINK_CHANGES, Disruption, Rank, Step

if TYPE_CHECKING:
    from reconciler.plan.context import Context

UNTOUCHED = {"gro": False, "tx-checksum": True, "tx-vlan": True}  # as the kernel makes a veth


def plan_namespace(change: Change, context: Context) -> Iterator[Step]:
    record = change.after or change.before
    assert isinstance(record, NamespaceRecord)
    create = CreateNamespace(record.name, record.topology)
    if change.after is None:
        yield Step(Rank.RETIRE_NAMESPACE, change.address, "delete", "no longer in a topology", create.inverse())
    elif not isinstance(change.before, NamespaceRecord) or change.before.topology == GONE:  # its mark may be there
        yield Step(Rank.NAMESPACE, change.address, "create", "in the topology", create, (create.inverse(),))
    else:
        yield Step(
            Rank.NAMES,
            change.address,
            "update",
            "belongs to another topology now",
            create,
            (
                CreateNamespace(record.name, change.before.topology)
                if change.before.topology
                else Remove(pins.namespace(record.name)),  # its mark was lost
            ),
        )


def plan_link(change: Change, context: Context) -> Iterator[Step]:
    before, after = change.before, change.after
    if isinstance(before, LinkRecord) and isinstance(after, LinkRecord):
        if in_place(before.link, after.link):
            for old, new in ((before.link.end, after.link.end), (before.link.peer, after.link.peer)):
                if old is not None and new is not None and old != new:
                    yield _configure(change.address, old, new, _told(after.link, new))
            if before.topology != after.topology:
                yield _claim(before, after)
            return
        why = "must be made anew: " + _why_anew(before.link, after.link)
        yield _delete_link(before, Rank.LINK_AWAY, why, context.restore.get(change.address, ()))
        yield from _create_link(after, change.address)
    elif isinstance(after, LinkRecord):
        yield from _create_link(after, change.address)
    elif isinstance(before, LinkRecord) and change.address in context.restore:
        yield _delete_link(before, Rank.LINK_AWAY, "makes room for another", context.restore[change.address])
    elif isinstance(before, LinkRecord):
        yield _delete_link(before, Rank.RETIRE_LINK, "no longer in a topology")
        if told := before.link.options.get("told"):
            yield Step(Rank.RETIRE, change.address, "forget", "is told nothing any more", Remove(told))


def _claim(before: LinkRecord, after: LinkRecord) -> Step:
    """The owner of a netdev is its mark. An apply that was killed while creating it may not have written it."""
    return Step(
        Rank.NAMES,
        after.address,
        "update",
        "belongs to another topology now",
        ClaimLink(after.link, after.topology),
        (ClaimLink(after.link, before.topology),),
        before.topology,
        after.topology,
    )


def in_place(before: Link, after: Link) -> bool:
    """Whether the kernel can turn one into the other without making it again."""
    same_peer = (before.peer is None) == (after.peer is None) and (
        before.peer is None or after.peer is None or (before.peer.name, before.peer.netns) == (after.peer.name, after.peer.netns)
    )
    return before.kind == after.kind and dict(before.options) == dict(after.options) and same_peer


def _why_anew(before: Link, after: Link) -> str:
    if before.kind != after.kind:
        return f"it is a {before.kind}"
    return "its other end is not as wanted" if dict(before.options) == dict(after.options) else "it has other options"


def _create_link(record: LinkRecord, address: str) -> Iterator[Step]:
    link = record.link
    create = CreateLink(link, record.topology)
    yield Step(
        Rank.LINK,
        address,
        "create",
        "in the topology",
        create,
        (create.inverse(),),
        None,
        _brief(link),
        counts=LINK_CHANGES,
        count=1,
    )
    for end in (link.end, link.peer):
        told = _told(link, end)
        if end is not None and (end.addresses or end.routes or told):
            yield replace(_configure(address, LinkEnd(end.name, end.netns, up=end.up), end, told), undo=(), counts="", count=0)


def _told(link: Link, end: LinkEnd | None) -> str:
    """The pin of an end's last configuration, if others may change that end later."""
    return link.options.get("told", "") if end is link.peer else ""


def _delete_link(record: LinkRecord, rank: Rank, reason: str, undo: tuple[Operation, ...] = ()) -> Step:
    return Step(
        rank,
        record.address,
        "delete",
        reason,
        DeleteLinks((record.link,)),
        undo,
        _brief(record.link),
        None,
        Disruption.PACKETS_LOST if rank == Rank.LINK_AWAY else Disruption.NONE,
        LINK_CHANGES,
        1,
    )


def merge_link_deletions(steps: Iterable[Step]) -> list[Step]:
    """Netdevs are deleted in one step: the kernel deletes many in the time of one."""
    merged: list[Step] = []
    doomed = [step for step in steps if step.rank == Rank.RETIRE_LINK]
    merged += [step for step in steps if step.rank != Rank.RETIRE_LINK]
    if doomed:
        links = tuple(link for step in doomed if isinstance(step.operation, DeleteLinks) for link in step.operation.links)
        merged.append(
            replace(
                doomed[0],
                address=doomed[0].address if len(doomed) == 1 else "links",
                operation=DeleteLinks(links),
                before={step.address: step.before for step in doomed} if len(doomed) > 1 else doomed[0].before,
                count=len(doomed),
            )
        )
    return merged


def _configure(address: str, old: LinkEnd, new: LinkEnd, told: str = "") -> Step:
    change = TellEnd(new, old, told) if told else ConfigureEnd(new, old)
    worse = Disruption.PACKETS_LOST if old.up and not new.up else Disruption.NONE
    return Step(
        Rank.LINK_SETTINGS,
        address,
        "update",
        "its settings differ",
        change,
        (change.inverse(),),
        _settings(old, new),
        _settings(new, old),
        worse,
        LINK_CHANGES,
        1,
    )


def _settings(end: LinkEnd, other: LinkEnd) -> dict[str, Any]:
    """What of an end differs from the other."""
    ours, theirs = asdict(end), asdict(other)
    return {name: value for name, value in ours.items() if value != theirs[name]}


def _brief(link: Link) -> str:
    peer = f" to {link.peer.netns + '/' if link.peer.netns else ''}{link.peer.name}" if link.peer else ""
    return f"{link.kind}{peer}"


def plan_offload(change: Change, context: Context) -> Iterator[Step]:
    record = change.after or change.before
    assert isinstance(record, OffloadRecord)

    old = offloads(change.before) if isinstance(change.before, OffloadRecord) else UNTOUCHED
    new = offloads(change.after) if isinstance(change.after, OffloadRecord) else UNTOUCHED
    yield Step(
        Rank.LINK_SETTINGS,
        change.address,
        "update",
        "XDP traffic needs it" if change.after else "XDP is gone",
        SetOffload(record.netdev, record.netns, new),
        (SetOffload(record.netdev, record.netns, old),),
        old,
        new,
        counts=LINK_CHANGES,
        count=1,
    )


def offloads(record: OffloadRecord) -> dict[str, bool]:
    """By the names that kernel.offload has for them, in the order in which they are set."""
    return {"gro": record.gro, "tx-checksum": record.tx_checksum, "tx-vlan": record.tx_vlan}


def plan_promiscuous(change: Change, context: Context) -> Iterator[Step]:
    """A mode that another program has requested stays. Where a netdev is recreated, it is requested again."""
    record = change.after or change.before
    assert isinstance(record, PromiscuousRecord)
    if change.after is None and not record.ours:
        return

    def switch(on: bool) -> Operation:
        return SetPromiscuous(record.netdev, record.topology, on)

    wanted = change.after is not None
    yield Step(
        Rank.LINK_SETTINGS if wanted else Rank.RETIRE,
        change.address,
        "create" if wanted else "delete",
        "a bridge hears frames for others" if wanted else "no bridge's port any more",
        switch(wanted),
        (switch(False),) if wanted else (),
        counts=LINK_CHANGES,
        count=1,
    )
