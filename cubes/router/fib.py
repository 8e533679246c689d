"""Which way packets go, worked out from what is configured: pure, and the same on every host.

A port's addresses make two kinds of rows of their own: local ones, for the addresses, and connected ones, for their subnets.
Of the static routes to one network the cheapest wins whose next hop is in a connected subnet; local and connected rows
always do. A row has its next hop and its port from one and the same route, so taking an address or a route away puts the
next best in its place as a whole.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

LOCAL, CONNECTED, REMOTE, DISCARD = 1, 2, 3, 4  # enum route_kind in bpf/router/router.h
KINDS = {LOCAL: "local", CONNECTED: "connected", REMOTE: "remote", DISCARD: "discard"}

Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Own:
    """One of the router's addresses; `path` leads to it from the cube."""

    port: str
    interface: Interface
    primary: bool
    path: tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table of a family. `via` is the next hop (REMOTE) or the router's own address."""

    kind: int
    port: str
    via: Address


@dataclass(frozen=True, slots=True)
class Route:
    """A static route as it is configured. `path` leads to it from the cube."""

    network: Network
    nexthop: Address
    interface: str | None
    pathcost: int
    path: tuple[str | int, ...]

    @property
    def rank(self) -> tuple[int, int, str]:
        """The lowest is used; what comes after the path cost only makes the choice the same everywhere."""
        return self.pathcost, int(self.nexthop), self.interface or ""


@dataclass(slots=True)
class Fib:
    """`rows` by network, of both families. `ways`: of each route the port that it would leave by, or None and why not;
    `active` are the routes that packets are sent by."""

    rows: dict[Network, Row] = field(default_factory=dict)
    ways: list[tuple[Route, str | None, str]] = field(default_factory=list)
    active: set[Route] = field(default_factory=set)

    def find(self, target: Address) -> Row | None:
        """The row that a packet to this address takes."""
        for length in range(target.max_prefixlen, -1, -1):
            row = self.rows.get(_network(target, length))
            if row is not None:
                return row
        return None


# A plan asks for the same addresses again and again, and what the library makes of a text does not change.
_MOST = 1 << 15  # of each kind: more than a large table has, for one that is asked for in order must fit whole
ip_address = functools.lru_cache(_MOST)(ipaddress.ip_address)
ip_network = functools.lru_cache(_MOST)(ipaddress.ip_network)
ip_interface = functools.lru_cache(_MOST)(ipaddress.ip_interface)


@functools.lru_cache(_MOST)
def _network(address: Address, length: int) -> Network:
    return ipaddress.ip_network((address.packed, length), strict=False)


def link_local_address(mac: bytes) -> ipaddress.IPv6Address:
    """RFC 4291, appendix A: fe80::/64 and the MAC address with its second bit turned and ff:fe in its middle."""
    return ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:6])


def own_addresses(config: Mapping[str, Any]) -> Iterator[Own]:
    for index, port in enumerate(config.get("ports", ())):
        for leaf in ("ip", "ipv6"):
            if leaf in port:
                yield Own(port["name"], ip_interface(port[leaf]), True, ("ports", index, leaf))
        for number, entry in enumerate(port.get("secondaryip", ())):
            path = ("ports", index, "secondaryip", number, "ip")
            yield Own(port["name"], ip_interface(entry["ip"]), False, path)


def routes(config: Mapping[str, Any]) -> Iterator[Route]:
    for index, entry in enumerate(config.get("route", ())):
        network = ip_network(entry["network"], strict=False)
        nexthop = ip_address(entry["nexthop"])
        yield Route(network, nexthop, entry.get("interface"), entry.get("pathcost", 1), ("route", index))


def derive(config: Mapping[str, Any]) -> Fib:
    """The rows that a configuration means. Of two ports with one subnet, the one that comes first by name has it."""
    fib = Fib()
    owned = sorted(own_addresses(config), key=lambda own: (own.port, own.path))
    for own in owned:
        network, address = own.interface.network, own.interface.ip
        fib.rows.setdefault(network, Row(CONNECTED, own.port, address))
        if network.version == 4 and network.prefixlen < 31:
            fib.rows[_network(network.broadcast_address, 32)] = Row(DISCARD, own.port, address)
    for own in owned:
        address = own.interface.ip
        fib.rows[_network(address, address.max_prefixlen)] = Row(LOCAL, own.port, address)
    connected = _Connected(fib, [own.port for own in owned if own.interface.version == 6])
    best: dict[Network, tuple[Route, str]] = {}
    for route in routes(config):
        port, why = connected.way_of(route)
        fib.ways.append((route, port, why))
        if port is not None and (route.network not in best or route.rank < best[route.network][0].rank):
            best[route.network] = route, port
    for network, (route, port) in best.items():
        if network not in fib.rows:
            fib.rows[network] = Row(REMOTE, port, route.nexthop)
            fib.active.add(route)
    return fib


class _Connected:
    """The rows of the ports' own addresses, to look next hops up in."""

    def __init__(self, fib: Fib, speaks_ipv6: list[str]) -> None:
        self.rows = dict(fib.rows)
        self.speaks_ipv6 = frozenset(speaks_ipv6)
        lengths = {(network.version, network.prefixlen) for network in self.rows}
        self.lengths = {version: sorted((n for v, n in lengths if v == version), reverse=True) for version in (4, 6)}

    def way_of(self, route: Route) -> tuple[str | None, str]:
        """The port that a route leaves by; or None, and the reason."""
        nexthop = route.nexthop
        if nexthop.version == 6 and nexthop.is_link_local:
            if route.interface is None:
                return None, "a link-local next hop needs an interface"
            if route.interface not in self.speaks_ipv6:
                return None, f"port {route.interface} has no IPv6 address"
            return route.interface, ""
        row = next((self.rows[n] for n in self._covering(nexthop) if n in self.rows), None)
        if row is None:
            return None, f"no port has a subnet with {nexthop}"
        if row.kind != CONNECTED:
            return None, f"{nexthop} is {'the router' if row.kind == LOCAL else 'a subnet'}'s own address"
        if route.interface is not None and route.interface != row.port:
            return None, f"{nexthop} is behind port {row.port}, not {route.interface}"
        return row.port, ""

    def _covering(self, address: Address) -> Iterator[Network]:
        return (_network(address, length) for length in self.lengths[address.version])
