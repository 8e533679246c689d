"""Warnings about valid documents that are seldom intended: for `pcn validate`, before an apply.

An apply does not repeat them: a netdev may arrive later, and a cube may be attached by the next edit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

from reconciler.check.addresses import canonical_of, network
from reconciler.check.messages import quoted
from reconciler.check.polycube import topology_of
from reconciler.check.rules_links import MIN_IPV6_MTU
from reconciler.check.rules_peers import target_of
from reconciler.check.schema import Services, memo_of
from reconciler.check.schema_check import check_schema
from reconciler.check.symbol_table import Place, SymbolTable, symbol_table
from reconciler.document import Document
from reconciler.document.suggest import near_miss
from reconciler.errors import Problem

Others = Callable[[], Mapping[str, str]]
_ANY = {"0.0.0.0": "0.0.0.0/0", "::": "::/0"}  # noqa: S104 - no socket is bound


def advice(
    documents: Sequence[Document], services: Services, netdevs: Collection[str], others: Others = dict
) -> list[Problem]:
    """Warnings about documents in which `check` found no error. `netdevs` are those of this machine; `others` returns their
    altnames, each with the netdev's own name, and is called only for a name that is not among `netdevs`."""
    memo = memo_of(services)
    drafts = [memo.run(check_schema, topology_of(document, services)[0], services) for document in documents]
    world = symbol_table(drafts, services)
    found = [*_attached_nowhere(world), *_not_there(world, netdevs, others), *_prefixes(world), *_small_mtus(world)]
    return [replace(problem, severity="warning") for problem in found]


def _attached_nowhere(world: SymbolTable) -> Iterator[Problem]:
    chains = (item.tcubes for places in (world.ports, world.attachments) for item in places)
    used = {name for chain in chains for name, _ in chain}
    for cube in world.cubes:
        if cube.is_transparent and cube.name not in used:
            hint = "list it under tcubes of a port, or of a netdev under spec.attachments"
            yield cube.place.problem(f"{quoted(cube.name)} is attached nowhere: no packet meets it", hint)


def _not_there(world: SymbolTable, netdevs: Collection[str], others: Others) -> Iterator[Problem]:
    """Netdevs that no link creates and this machine lacks."""
    made = [end.name for link in world.links for end in link.ends if end.netns is None]
    known: Mapping[str, str] = {}
    for name, place in _netdevs(world):
        if name in made or name in netdevs:
            continue
        known = known or others()
        if own := known.get(name):
            if len({each for each, _ in _netdevs(world) if known.get(each, each) == own}) > 1:
                problem = f"{quoted(name)} is another name (altname) of {own}, which is named elsewhere too: this one waits"
                yield place.problem(problem, f"write {quoted(own)}")
        else:
            hint = near_miss(name, lambda: [*made, *netdevs], "what is joined to it waits until it appears")
            yield place.problem(f"there is no netdev {quoted(name)} on this machine, and no link makes it", hint)


def _netdevs(world: SymbolTable) -> Iterator[tuple[str, Place]]:
    for port in world.ports:
        if port.peer is not None and target_of(port.peer) is None:
            yield port.peer, port.place / "peer"
    for attachment in world.attachments:
        if attachment.netdev is not None:
            yield attachment.netdev, attachment.place / "netdev"


def _prefixes(world: SymbolTable) -> Iterator[Problem]:
    """Ambiguous prefixes: with host bits, or without a length."""
    for cube in world.cubes:
        if cube.service is not None:
            raw = cube.place.draft.document.data["spec"]["cubes"][cube.place.path[-1]]
            yield from _in_value(cube.service.schema, raw, cube.place)


def _small_mtus(world: SymbolTable) -> Iterator[Problem]:
    """Netdevs that are too narrow for the IPv6 of the ports at them: a node that speaks it takes packets of 1280 bytes."""
    mtus = {end.name: (end, mtu) for link in world.links for end in link.ends if isinstance(mtu := end.data.get("mtu"), int)}
    for port in (port for cube in world.cubes for port in cube.data.get("ports", ())):
        end, mtu = mtus.get(port.get("peer", ""), (None, MIN_IPV6_MTU))
        if end is not None and end.netns is None and mtu < MIN_IPV6_MTU and (address := _ipv6_in(port)):
            hint = f"IPv6 needs an MTU of at least {MIN_IPV6_MTU}"
            problem = f"{quoted(end.name)} has an MTU of {mtu}, and port {quoted(port['name'])} at it has the IPv6 address"
            yield (end.place / "mtu").problem(f"{problem} {address}", hint)


def _ipv6_in(value: Any) -> str:
    """The first IPv6 address with a length in what is written of a port."""
    if isinstance(value, str):
        address, slash, _ = value.partition("/")
        return value if slash and address.count(":") > 1 else ""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((found for part in parts if (found := _ipv6_in(part))), "")


def _in_value(schema: Mapping[str, Any], data: Any, place: Place) -> Iterator[Problem]:
    if isinstance(data, dict):
        for name, value in data.items():
            yield from _in_value(schema.get("properties", {}).get(name, {}), value, place / name)
    elif isinstance(data, list):
        for index, entry in enumerate(data):
            yield from _in_value(schema.get("items", {}), entry, place / index)
    elif isinstance(data, str) and data in _ANY and _takes(schema, _ANY[data]):
        hint = f'for all addresses write "{_ANY[data]}"'
        yield place.problem(f"{quoted(data)} without a length is this one address, which no packet has", hint)
    elif isinstance(data, str) and "x-pcn-key" in schema and canonical_of(schema) is network and (read := network(data)) != data:
        if "/" not in data:
            yield place.problem(f"{quoted(data)} has no length, and is read as {quoted(read)}: this one address")
        elif _has_host_part(data):
            yield place.problem(f"{quoted(data)} has bits set beyond its length, and is read as {quoted(read)}")


def _has_host_part(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return True
    return False


def _takes(schema: Mapping[str, Any], text: str) -> bool:
    members = [schema, *schema.get("anyOf", ())]
    return any("pattern" in member and re.search(member["pattern"], text) for member in members)
