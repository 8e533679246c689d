"""Steps that may cut off the administrator of this host: its netdevs are attached to, its addresses are removed. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from reconciler.facts.own import DEFAULT
from reconciler.graph.records import HookRecord
from reconciler.model import LinkEnd
from reconciler.plan.context import Context, Surroundings
from reconciler.plan.operations import AttachHook, ConfigureEnd, DeleteLinks, UpdateHook
from reconciler.plan.steps import Lockout, Step
from reconciler.plan.ways import arrivals, entrances, is_taken, place_of


def lockouts_of(step: Step, context: Context, around: Surroundings) -> Iterator[Lockout]:
    match step.operation:
        case ConfigureEnd(end, before) if end.netns is None:
            yield from _lockouts_of_end(end, before)
        case DeleteLinks(links):
            for end in (end for link in links for end in link.ends if end.netns is None and end.addresses):
                words = f"netdev {end.name}, which has {', '.join(end.addresses)}, is removed"
                yield Lockout(end.name, end.addresses, words)
        case AttachHook() | UpdateHook():
            yield from _lockouts_at(step, context, around)


def _lockouts_of_end(end: LinkEnd, before: LinkEnd) -> Iterator[Lockout]:
    if lost := lost_addresses(end, before):
        yield Lockout(end.name, tuple(lost), f"netdev {end.name} loses {', '.join(lost)}")
    elif before.up and not end.up and before.addresses:
        words = f"netdev {end.name}, which has {', '.join(before.addresses)}, goes down"
        yield Lockout(end.name, before.addresses, words)
    if _default_routes(before) > _default_routes(end):
        yield Lockout(end.name, (), f"netdev {end.name} loses the default route")


def _lockouts_at(step: Step, context: Context, around: Surroundings) -> Iterator[Lockout]:
    record, place = context.desired.state.get(step.address), place_of(step, context, around)
    if place is None or not isinstance(record, HookRecord) or (own := around.own.get(record.netdev)) is None:
        return
    if is_taken(record, *place):
        taker = place[1].cubes[-1]
        yield Lockout(record.netdev, own.addresses, f"cube {taker} takes netdev {record.netdev}, which {own}")
    for cube, said in arrivals(place, context, around):
        yield Lockout(record.netdev, own.addresses, f"cube {cube} comes to netdev {record.netdev}, which {own}, and cuts {said}")


def lockouts_by(said: Mapping[str, str], context: Context, around: Surroundings) -> Iterator[Lockout]:
    """By changes of configurations, and which connections these cut, at netdevs that have the cubes already."""
    for netdev, met in entrances(said, context.desired.state, context.services).items():
        if (own := around.own.get(netdev)) is not None:
            for cube in sorted(met):
                sentence = f"cube {cube} at netdev {netdev}, which {own}, changes and cuts {said[cube]}"
                yield Lockout(netdev, own.addresses, sentence)


def _default_routes(end: LinkEnd) -> set[str]:
    return {route.to for route in end.routes}.intersection((*DEFAULT, "default"))


def lost_addresses(end: LinkEnd, before: LinkEnd) -> list[str]:
    """Those that are on the netdev no more, whatever the lengths of their prefixes."""
    kept = {address.partition("/")[0] for address in end.addresses}
    return [address for address in before.addresses if address.partition("/")[0] not in kept]
