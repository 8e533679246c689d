"""Rules for links: what the kernel would refuse, or would take and do something else with."""
from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from reconciler.check.messages import quoted
from reconciler.check.rules_addresses import addressing
from reconciler.check.rules_names import netdev_fault
from reconciler.check.symbol_table import EndFact, LinkFact, Place, SymbolTable
from reconciler.document.suggest import near_miss
from reconciler.errors import Problem

MIN_IPV6_MTU = 1280
Device = tuple[str | None, str]
"""A network namespace (None: the one that pcn runs in) and a name in it."""


def links(world: SymbolTable) -> Iterator[Problem]:
    """Devices that exist twice, are in a namespace that nothing creates, or are on a device that does not exist."""
    namespaces = {name for name, _ in world.namespaces}
    devices = {(end.netns, end.name): end for link in reversed(world.links) for end in reversed(link.ends)}
    anywhere = {name: end for (_, name), end in reversed(devices.items())}
    yield from _same_device(world)
    for link in world.links:
        for end in link.ends:
            if end.name == "lo":
                yield (end.place / "name").problem('"lo" cannot be made: every network namespace has one from the start')
            yield from _namespace(namespaces, end)
            yield from addressing(end)
            yield from _mtu(end)
        if link.end.netns in namespaces:
            yield from _parent(link.end, devices, anywhere)
        yield from _tunnel(link)
    yield from _circles(world)


def _mtu(end: EndFact) -> Iterator[Problem]:
    """RFC 8200 section 5: the kernel takes a smaller one, switches IPv6 off, and then refuses the address."""
    mtu = end.data.get("mtu")
    addresses = end.data.get("addresses")
    with_ipv6 = [text for text in addresses if isinstance(text, str) and ":" in text] if isinstance(addresses, list) else []
    if isinstance(mtu, int) and mtu < MIN_IPV6_MTU and with_ipv6:
        yield (end.place / "mtu").problem(f"IPv6 needs an MTU of at least {MIN_IPV6_MTU}, and {with_ipv6[0]} is an IPv6 address")


def _same_device(world: SymbolTable) -> Iterator[Problem]:
    first: dict[Device, Place] = {}
    for link in world.links:
        for end in link.ends:
            here = end.place / "name"
            other = first.setdefault((end.netns, end.name), here)
            if other is not here and not _same_key(other, here):
                where = f"network namespace {quoted(end.netns)}" if end.netns else "the host"
                yield here.problem(f"{where} has a device {quoted(end.name)} already", related=[(other, "it is here")])


def _same_key(one: Place, other: Place) -> bool:
    """Whether both are entries of one list with one key, which the schema has reported."""
    return one.draft is other.draft and len(one.path) == len(other.path) == len(("spec", "links", 0, "name"))


def _namespace(known: Collection[str], end: EndFact) -> Iterator[Problem]:
    if end.netns is not None and end.netns not in known:
        hint = near_miss(end.netns, lambda: known, "list it under spec.namespaces")
        yield (end.place / "netns").problem(f"no topology has a network namespace {quoted(end.netns)}", hint)


def _parent(end: EndFact, devices: Mapping[Device, EndFact], anywhere: Mapping[str, EndFact]) -> Iterator[Problem]:
    """The device under a vlan, vxlan or macvlan. Where pcn runs it may be any; a namespace of ours has only our own."""
    name = end.data.get("link")
    if not isinstance(name, str) or netdev_fault(name) or (end.netns, name) in devices:
        return
    place = end.place / "link"
    elsewhere = [anywhere[name]] if name in anywhere else []
    hint = "" if elsewhere else near_miss(name, lambda: [found for netns, found in devices if netns == end.netns])
    related = [(device.place, f"{quoted(name)} is here") for device in elsewhere]
    yield place.problem(f"network namespace {quoted(end.netns)} has no device {quoted(name)}", hint, related=related)


def _circles(world: SymbolTable) -> Iterator[Problem]:
    """Devices stacked on themselves. Each cycle is reported once, at its first link."""
    on_others = [link for link in world.links if isinstance(link.end.data.get("link"), str)]
    below = {(link.end.netns, link.end.name): link for link in reversed(on_others)}
    done: set[Device] = set()
    for start in world.links:
        way: list[Device] = []
        here: Device = (start.end.netns, start.end.name)
        while here in below and here not in done and here not in way:
            way.append(here)
            here = (here[0], str(below[here].end.data["link"]))
        if here in way and here not in done:
            circle = [name for _, name in way[way.index(here):]]
            said = "itself" if len(circle) == 1 else f"itself: {' on '.join([*circle, circle[0]])}"
            yield (below[here].end.place / "link").problem(f"{quoted(circle[0])} is on {said}")
        done.update(way)


def _tunnel(link: LinkFact) -> Iterator[Problem]:
    local, remote = link.end.data.get("local"), link.end.data.get("remote")
    if isinstance(local, str) and isinstance(remote, str) and (":" in local) != (":" in remote):
        message = "local and remote are not of one family, IPv4 or IPv6"
        yield (link.end.place / "remote").problem(message, related=[(link.end.place / "local", "local is here")])
