"""What may cut off whoever looks after this host: its netdevs are taken, its addresses go. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from reconciler.facts.own import DEFAULT
from reconciler.graph.records import HookRecord
from reconciler.plan.context import Context, Surroundings
from reconciler.plan.steps import Lockout, Step
from reconciler.plan.ways import arrivals, entrances, is_taken, place_of


def lockouts_of(step: Step, context: Context, around: Surroundings) -> Iterator[Lockout]:
    kind, args = step.operation.kind, step.operation.args
    if kind == "configure_end" and args["end"]["netns"] is None:
        end, before = args["end"], args["before"]
        if lost := lost_addresses(end, before):
            yield Lockout(end["name"], tuple(lost), f"netdev {end['name']} loses {', '.join(lost)}")
        elif before["up"] and not end["up"] and before["addresses"]:
            held = tuple(before["addresses"])
            yield Lockout(end["name"], held, f"netdev {end['name']}, which has {', '.join(held)}, goes down")
        if _default_routes(before) > _default_routes(end):
            yield Lockout(end["name"], (), f"netdev {end['name']} loses the default route")
    elif kind == "delete_links":
        for end in (end for link in args["links"] for end in ends_of(link)):
            if end["netns"] is None and end["addresses"]:
                held = tuple(end["addresses"])
                yield Lockout(end["name"], held, f"netdev {end['name']}, which has {', '.join(held)}, is removed")
    elif kind in ("attach_hook", "update_hook"):
        yield from _lockouts_at(step, context, around)


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


def _default_routes(end: Mapping[str, Any]) -> set[str]:
    return {route["to"] for route in end["routes"]}.intersection((*DEFAULT, "default"))


def lost_addresses(end: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    """Those that are on the netdev no more, whatever the lengths of their prefixes."""
    kept = {address.partition("/")[0] for address in end["addresses"]}
    return [address for address in before["addresses"] if address.partition("/")[0] not in kept]


def ends_of(link: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from (end for end in (link["end"], link["peer"]) if end is not None)
