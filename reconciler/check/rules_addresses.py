"""Rules for the addresses, routes and MAC address of one end of a link."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_address, ip_interface, ip_network
from typing import Any

from reconciler.check.messages import quoted
from reconciler.check.symbol_table import EndFact, Place
from reconciler.errors import Problem

Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network


def addressing(end: EndFact) -> Iterator[Problem]:
    """Addresses that are no host's, and routes that cannot be."""
    addresses = list(_interfaces(end.data.get("addresses")))
    for index, text in _texts(end.data.get("addresses")):
        yield from _address(text, end.place / "addresses" / index)
    mac = end.data.get("mac")
    if isinstance(mac, str) and _is_group(mac):
        yield (end.place / "mac").problem(f"{quoted(mac)} is a group's address, not a device's", "the first byte must be even")
    routes = [(index, route) for index, route in enumerate(_list(end.data.get("routes"))) if isinstance(route, dict)]
    on_link = [address.network for address in addresses] + [network for _, route in routes if "via" not in route
                                                           for network in _networks(route.get("to"))]
    for index, route in routes:
        yield from _route(route, end.place / "routes" / index, on_link)
    yield from _same_target(routes, end.place / "routes")


def _address(text: str, place: Place) -> Iterator[Problem]:
    try:
        address = ip_interface(text)
    except ValueError:
        yield place.problem(f"{quoted(text)} is not an IP address")
        return
    if address.is_multicast or (address.version == 4 and address.is_unspecified):
        yield place.problem(f"{quoted(text)} cannot be a device's address")


def _route(route: dict[str, Any], place: Place, on_link: list[Network]) -> Iterator[Problem]:
    to, via = route.get("to"), route.get("via")
    family = None
    if isinstance(to, str) and to != "default":
        try:
            family = ip_network(to).version
        except ValueError:
            yield from _bad_target(to, place / "to")
            return
    if not isinstance(via, str):
        return
    try:
        gateway = ip_address(via)
    except ValueError:
        yield (place / "via").problem(f"{quoted(via)} is not an IP address")
        return
    if family not in (None, gateway.version):
        yield (place / "via").problem(f"a route to {to} cannot go via {via}: one is IPv4, the other IPv6")
    elif not gateway.is_link_local and not any(gateway in network for network in on_link if network.version == gateway.version):
        yield (place / "via").problem(f"{via} cannot be reached on this device: none of its addresses is in the same network")


def _same_target(routes: Sequence[tuple[int, dict[str, Any]]], place: Place) -> Iterator[Problem]:
    """Two routes to one prefix, of which the kernel refuses the second. 'default' is a prefix of its next hop's family.
    Identical ones are equal keys, which the schema has reported."""
    first: dict[Network, tuple[int, dict[str, Any]]] = {}
    for index, route in routes:
        via = route.get("via")
        everywhere = "::/0" if isinstance(via, str) and ":" in via else "0.0.0.0/0"
        for network in _networks(everywhere if route.get("to") == "default" else route.get("to")):
            at, other = first.setdefault(network, (index, route))
            if at != index and (other.get("to"), other.get("via")) != (route.get("to"), via):
                related = [(place / at, "the first one is here")]
                yield (place / index / "to").problem(f"this device has a route to {network} already", related=related)


def _bad_target(to: str, place: Place) -> Iterator[Problem]:
    """Not a prefix at all, or one with something in its host part, which the kernel refuses."""
    try:
        meant = ip_network(to, strict=False)
    except ValueError:
        yield place.problem(f"{quoted(to)} is not an IP prefix")
        return
    yield place.problem(f"{quoted(to)} is an address, not a prefix: there are bits after the first {meant.prefixlen}",
                        f'did you mean "{meant}"?')


def _is_group(mac: str) -> bool:
    first = mac[:2]
    return all(digit in "0123456789abcdef" for digit in first) and len(first) == 2 and int(first, 16) & 1 == 1


def _interfaces(data: Any) -> Iterator[Interface]:
    for _, text in _texts(data):
        try:
            yield ip_interface(text)
        except ValueError:
            continue


def _networks(to: Any) -> Iterator[Network]:
    try:
        yield ip_network(to, strict=False)
    except (ValueError, TypeError):
        return


def _texts(data: Any) -> Iterator[tuple[int, str]]:
    return ((index, text) for index, text in enumerate(_list(data)) if isinstance(text, str))


def _list(data: Any) -> list[Any]:
    return data if isinstance(data, list) else []
