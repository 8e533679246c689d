"""Rules of a router that no schema can express: which addresses and routes fit together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cubes.lib.macs import is_station
from cubes.router.fib import Interface, Own, derive, ip_address, own_addresses, routes
from reconciler.service.sdk import Env

Said = tuple[tuple[str | int, ...], str, str]


def check(config: Mapping[str, Any], env: Env) -> Iterator[Said]:
    """(steps from the cube, sentence, "error" or "warning") for all that is wrong or will have no effect."""
    owned = list(own_addresses(config))
    yield from _addresses(owned)
    yield from _primaries(owned)
    yield from _overlaps(owned)
    yield from _macs(config)
    yield from _neighbours(config, env)
    yield from _short_cuts(config)
    for place, (route, (port, why)) in enumerate(zip(routes(config), derive(config).ways, strict=True)):
        if route.version != route.nexthop.version:
            yield ("route", place, "nexthop"), f"{route.nexthop} is no next hop for {route}: the families differ", "error"
        elif port is None:
            yield ("route", place, "nexthop"), f"the route to {route} is not used: {why}", "warning"


def _addresses(owned: list[Own]) -> Iterator[Said]:
    seen: dict[Any, Own] = {}
    for own in owned:
        address = own.interface.ip
        if sentence := _unfit(own.interface):
            yield own.path, sentence, "error"
        elif address in seen:
            yield own.path, f"port {seen[address].port} has address {address} already", "error"
        else:
            seen[address] = own


def _unfit(interface: Interface) -> str:
    """Why this can be no port's address; '' if it can."""
    address, network = interface.ip, interface.network
    if address.is_multicast or address.is_loopback or address.is_unspecified or (address.version == 4 and address.is_reserved):
        return f"{address} is no address that a port can have"
    if address.version == 6 and address.is_link_local:
        return f"{address} is link-local: a port's own is derived from its MAC address"
    if address.version == 6 and address.ipv4_mapped:
        return f"{address} is IPv4 in IPv6's notation: no packet has it on a wire (RFC 6890)"
    if address.version == 4 and network.prefixlen < 31 and address in (network.network_address, network.broadcast_address):
        kind = "the network's" if address == network.network_address else "the broadcast"
        return f"{address} is {kind} address of {network}, not a port's"
    return ""


def _primaries(owned: list[Own]) -> Iterator[Said]:
    primary = {(own.port, own.interface.version) for own in owned if own.primary}
    for own in owned:
        if (own.port, own.interface.version) not in primary:
            leaf = "ip" if own.interface.version == 4 else "ipv6"
            yield own.path, f"port {own.port} has no primary address of this family ({leaf}) beside this secondary one", "error"


def _overlaps(owned: list[Own]) -> Iterator[Said]:
    """One subnet on two ports: only one of them gets the packets."""
    first: dict[Any, Own] = {}
    for own in sorted(owned, key=lambda own: own.port):
        other = first.setdefault(own.interface.network, own)
        if other.port != own.port:
            yield own.path, f"packets to {own.interface.network} leave by port {other.port}, which has this subnet too", "warning"


def _macs(config: Mapping[str, Any]) -> Iterator[Said]:
    for index, port in enumerate(config.get("ports", ())):
        if "mac" in port and not is_station(port["mac"]):
            yield ("ports", index, "mac"), f"{port['mac']} is no MAC address of a station", "error"


def _neighbours(config: Mapping[str, Any], env: Env) -> Iterator[Said]:
    own = {own.interface.ip for own in own_addresses(config)}
    for index, entry in enumerate(config.get("arp-table", ())):
        if not is_station(entry["mac"]):
            yield ("arp-table", index, "mac"), f"{entry['mac']} is no MAC address of a station", "error"
        if ip_address(entry["address"]) in own:
            yield ("arp-table", index, "address"), f"{entry['address']} is the router's own address", "error"


def _short_cuts(config: Mapping[str, Any]) -> Iterator[Said]:
    """Between a port that leads to the host's stack and one whose netdev is the host's."""
    ports = config.get("ports", ())
    hosts = {port["name"] for port in ports if "takes-for" in port}
    for index, port in enumerate(ports):
        for leaf in {"short-cut", "takes-for"} & set(port):
            path = ("ports", index, leaf)
            if config.get("type", "TC") != "TC" or config.get("shadow"):
                yield path, "packets pass by the host's stack in a cube of type TC without a shadow alone", "error"
            elif port[leaf] == port["name"]:
                yield path, "this is the port itself", "error"
            elif leaf == "takes-for" and ("short-cut" in port or {"ip", "ipv6", "secondaryip"} & set(port)):
                yield path, "a port whose netdev is the host's has no address here and no short-cut", "error"
            elif leaf == "short-cut" and port[leaf] not in hosts:
                yield path, f"port {port[leaf]} has no takes-for, so its netdev is not the host's", "error"
