"""Netdevs that must be recreated, with everything attached to them, and how they are restored if the apply fails.

The hooks of a netdev are deleted with it, and its successor has another index, which hops and flood members refer to. So
everything that refers to it counts as missing from the start, and is planned like any other missing object.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from reconciler import pins
from reconciler.graph.records import (
    GONE,
    CubeRecord,
    HookRecord,
    LinkRecord,
    MemberRecord,
    NextHopRecord,
    OffloadRecord,
    PromiscuousRecord,
    global_records,
)
from reconciler.model import family_of
from reconciler.plan.context import Context
from reconciler.plan.forwarding import member_operation, next_hop_operation
from reconciler.plan.network import in_place, offloads
from reconciler.plan.operations import AttachHook, CreateLink, Operation, SetOffload, SetPromiscuous


def mark_recreated(context: Context) -> None:
    """Let everything on a netdev that will be created, or must make room for one, count as missing; and note how the present
    state is restored."""
    taken: set[tuple[str, str | None]] = set()
    kept: set[tuple[str, str | None]] = set()
    for address, wanted in global_records(context.desired.state).items():
        if not isinstance(wanted, LinkRecord):
            continue
        live = context.state.get(address)
        if isinstance(live, LinkRecord) and in_place(live.link, wanted.link):
            kept |= _ends(wanted)
            continue
        taken |= _ends(wanted)
        if isinstance(live, LinkRecord):
            context.restore[address] = tuple(_restore(_seen(live, context), context))
        _forget(live if isinstance(live, LinkRecord) else wanted, context)
    for address, live in list(global_records(context.live.state).items()):
        if isinstance(live, LinkRecord) and address not in context.desired.state:
            seen = _seen(live, context)
            if _ends(seen) & kept:  # the same link, named by its other end now
                del context.state[address]
                context.altered = True
                continue
            if not taken:
                continue
            unknown = seen.link.kind == "veth" and seen.link.peer is None  # an interrupted apply's: its peer may be in the way
            if unknown or _ends(seen) & taken:
                context.restore[address] = () if unknown else tuple(_restore(seen, context))
                _forget(seen, context)


def _seen(live: LinkRecord, context: Context) -> LinkRecord:
    """A netdev with the other end that it has, whatever that is to be."""
    seen = context.live.network.get(live.address, live)
    return seen if isinstance(seen, LinkRecord) else live


def _forget(link: LinkRecord, context: Context) -> None:
    names, ends = _names(link), _ends(link)
    context.altered = True
    for address, record in list(context.state.items()):
        if isinstance(record, HookRecord) and record.netdev in names:
            context.state[address] = replace(record, stub=GONE)
        elif isinstance(record, NextHopRecord) and record.kind == "netdev" and record.target in names:
            context.state[address] = replace(record, target=GONE)
        elif isinstance(record, MemberRecord) and {record.netdev, record.far} & names:
            context.state[address] = replace(record, netdev=GONE)
        elif isinstance(record, OffloadRecord | PromiscuousRecord) and (record.netdev, getattr(record, "netns", None)) in ends:
            del context.state[address]


def _names(record: LinkRecord) -> set[str]:
    """Its ends in our own namespace."""
    return {end.name for end in (record.link.end, record.link.peer) if end is not None and end.netns is None}


def _ends(record: LinkRecord) -> set[tuple[str, str | None]]:
    return {(end.name, end.netns) for end in (record.link.end, record.link.peer) if end is not None}


def _restore(record: LinkRecord, context: Context) -> Iterator[Operation]:
    """Make a netdev again as it was, with its offloads, what was attached to it and what pointed to it."""
    yield CreateLink(record.link, record.topology, again=True)
    names, ends = _names(record), _ends(record)
    for live in {**context.live.state, **context.live.network}.values():
        if isinstance(live, OffloadRecord) and (live.netdev, live.netns) in ends:
            yield SetOffload(live.netdev, live.netns, offloads(live))
        elif isinstance(live, PromiscuousRecord) and live.netdev in names:
            yield SetPromiscuous(live.netdev, live.topology, on=True)
        elif isinstance(live, HookRecord) and live.netdev in names and live.stub != GONE:
            yield AttachHook(live.netdev, live.point, live.path, context.path_now(live.stub), live.mode)
        elif isinstance(live, NextHopRecord) and live.kind == "netdev" and live.target in names:
            yield next_hop_operation(context.path_now(pins.cube(live.cube)), live, live)
        elif isinstance(live, MemberRecord) and {live.netdev, live.far} & names:
            cube = context.live.state.get(f"cube/{live.cube}")
            family = family_of(cube.type) if isinstance(cube, CubeRecord) else "TC"
            yield member_operation(context.path_now(pins.cube(live.cube)), family, live.index, live)
