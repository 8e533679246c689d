"""The forwarding table, derived from the configuration: pure, and the same on every host.

A port's addresses yield two kinds of rows: local ones, for the addresses, and connected ones, for their subnets. Of the
static routes to one network the cheapest wins whose next hop is in a connected subnet; local and connected rows have
priority. A row has its next hop and its port from the same route, so that the removal of an address or a route replaces the
row by the next best as a unit.
"""

from __future__ import annotations

import ipaddress
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cubes.lib.layout import index
from reconciler.service.sdk import EntryMemo, Env, Owned, decode, encode, memoised

LOCAL, CONNECTED, REMOTE, DISCARD = 1, 2, 3, 4  # enum route_kind in bpf/router/router.h
KINDS = {LOCAL: "local", CONNECTED: "connected", REMOTE: "remote", DISCARD: "discard"}

Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Own:
    """One of the router's addresses; `path` is its position within the cube."""

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

    def __hash__(self) -> int:
        """As an address's own, which is of its number's text, but in a fifth of the time."""
        return hash((self.kind, self.port, int(self.via)))


class Route(NamedTuple):
    """A static route as it is configured. `network` is as the kernel has it: length (4 bytes), address (16); `wide`: the next hop
    in 16 bytes; `version`: the family of the network."""

    network: bytes
    nexthop: Address
    wide: bytes
    interface: str | None
    pathcost: int
    version: int

    @property
    def rank(self) -> tuple[int, bytes, str]:
        """The lowest is used; the parts after the path cost only make the choice deterministic."""
        return self.pathcost, self.wide, self.interface or ""

    def __str__(self) -> str:
        return str(decode("prefix", self.network, Env()))


@dataclass(slots=True)
class Fib:
    """`rows` by network, of both families (see Route). `ways`: of each route, in their order, its egress port, or None and
    the reason; `active`: of each whether it is in use."""

    rows: dict[bytes, Row] = field(default_factory=dict)
    ways: list[tuple[str | None, str]] = field(default_factory=list)
    active: list[bool] = field(default_factory=list)

    def find(self, target: Address) -> Row | None:
        """The row that a packet to this address takes."""
        found = (self.rows.get(prefix(target, length)) for length in range(target.max_prefixlen, -1, -1))
        return next((row for row in found if row is not None), None)


# Routes have few next hops, and what the library makes of a text does not change.
ip_address = memoised(ipaddress.ip_address)
ip_interface = memoised(ipaddress.ip_interface)
MAPPED = bytes(10) + b"\xff\xff"
_LENGTHS = {index(96 + length): length for length in range(33)}
_ROUTES: Owned[EntryMemo[Route]] = Owned(EntryMemo)
_NOWHERE = Env()


def wide(address: Address) -> bytes:
    """16 bytes; IPv4 is ::ffff:a.b.c.d."""
    return address.packed if address.version == 6 else MAPPED + address.packed


def prefix(address: Address, length: int) -> bytes:
    """The network of this length that an address is in, as the kernel has it."""
    bits = length + (96 if address.version == 4 else 0)
    value = int.from_bytes(wide(address), "big") >> (128 - bits) << (128 - bits)
    return index(bits) + value.to_bytes(16, "big")


def length4(network: bytes) -> int | None:
    """The prefix length of an IPv4 network in the kernel's encoding; None for IPv6. The bytes may continue."""
    return _LENGTHS.get(network[:4]) if network.startswith(MAPPED, 4) else None


def prefix_of(network: Network) -> bytes:
    return prefix(network.network_address, network.prefixlen)


def link_local_address(mac: bytes) -> ipaddress.IPv6Address:
    """RFC 4291, appendix A: fe80::/64 and the MAC address with its second bit turned and ff:fe in its middle."""
    return ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:6])


def own_addresses(config: Mapping[str, Any]) -> Iterator[Own]:
    for place, port in enumerate(config.get("ports", ())):
        for leaf in ("ip", "ipv6"):
            if leaf in port:
                yield Own(port["name"], ip_interface(port[leaf]), True, ("ports", place, leaf))
        for more, entry in enumerate(port.get("secondaryip", ())):
            path = ("ports", place, "secondaryip", more, "ip")
            yield Own(port["name"], ip_interface(entry["ip"]), False, path)


def routes(config: Mapping[str, Any]) -> list[Route]:
    """In the order of the configuration."""
    return _ROUTES().each(config.get("route", ()), lambda _, entry: _route(entry))


def _route(entry: Mapping[str, Any]) -> Route:
    network, (nexthop, address) = encode("prefix", entry["network"], 20, _NOWHERE), _nexthop(entry["nexthop"])
    version = 6 if length4(network) is None else 4
    return Route(network, nexthop, address, entry.get("interface"), entry.get("pathcost", 1), version)


@memoised
def _nexthop(text: str) -> tuple[Address, bytes]:
    address = ip_address(text)
    return address, wide(address)


@dataclass(frozen=True, slots=True)
class Links:
    """Ports without a working link: `down` are those whose netdev is down or missing, which have no subnet then; those
    without carrier are the last resort. All others are assumed to be up."""

    down: frozenset[str] = frozenset()
    no_carrier: frozenset[str] = frozenset()


ALL_UP = Links()


def links_of(config: Mapping[str, Any], facts: Mapping[str, Any]) -> Links:
    """By the fact `links`. A port whose peer is a cube's, or none, is up."""
    if "links" not in facts:
        return ALL_UP
    peers = {port["name"]: port["peer"] for port in config.get("ports", ()) if port.get("peer") and ":" not in port["peer"]}
    states = {port: facts["links"].get(peer, "down") for port, peer in peers.items()}
    return Links(*(frozenset(port for port, state in states.items() if state == wanted) for wanted in ("down", "no-carrier")))


_DERIVED: Owned[deque[tuple[list[Own], list[Route], Links, Fib]]] = Owned(lambda: deque(maxlen=4))


def derive(config: Mapping[str, Any], links: Links = ALL_UP) -> Fib:
    """The forwarding table of a configuration. If two ports have one subnet, the first by name has it. Memoised for the last
    few calls, since an apply needs it several times; the result must not be changed."""
    owned, known = list(own_addresses(config)), routes(config)
    answers = _DERIVED()
    for asked in tuple(answers):
        if asked[:3] == (owned, known, links):
            return asked[3]
    fib = _derive(config, known, links)
    answers.append((owned, known, links, fib))
    return fib


def _derive(config: Mapping[str, Any], known: list[Route], links: Links) -> Fib:
    fib = Fib(_own_rows(config, links))
    connected = _Connected(fib.rows, config, links)
    best: dict[bytes, tuple[bool, Route, int]] = {}
    for place, route in enumerate(known):
        way = connected.way_of(route)
        fib.ways.append(way)
        if way[0] is None or route.network in fib.rows:
            continue
        mute, other = way[0] in links.no_carrier, best.get(route.network)
        if other is None or (mute, route.rank) < (other[0], other[1].rank):
            best[route.network] = mute, route, place
    fib.active = [False] * len(known)
    made: dict[tuple[str | None, bytes, int], Row] = {}
    for network, (mute, route, place) in best.items():
        port = fib.ways[place][0]
        row = made.get((port, route.wide, route.version))
        if row is None:
            on_link = route.nexthop.is_unspecified
            row = connected.on_link(port or "", route) if on_link else Row(REMOTE, port or "", route.nexthop)
            made[port, route.wide, route.version] = row
        fib.rows[network] = row
        fib.active[place] = not mute
    return fib


def _own_rows(config: Mapping[str, Any], links: Links) -> dict[bytes, Row]:
    """The rows of the ports' own addresses and subnets. An address is the router's whether its port is up or not."""
    rows: dict[bytes, Row] = {}
    owned = sorted(own_addresses(config), key=lambda own: (own.port in links.no_carrier, own.port, own.path))
    for own in (own for own in owned if own.port not in links.down):
        network, address = own.interface.network, own.interface.ip
        rows.setdefault(prefix_of(network), Row(CONNECTED, own.port, address))
        if network.version == 4 and network.prefixlen < 31:
            rows[prefix(network.broadcast_address, 32)] = Row(DISCARD, own.port, address)
    for own in owned:
        rows[prefix(own.interface.ip, own.interface.max_prefixlen)] = Row(LOCAL, own.port, own.interface.ip)
    return rows


class _Connected:
    """The rows of the ports' own addresses, for next-hop look-ups; each is looked up once."""

    def __init__(self, rows: Mapping[bytes, Row], config: Mapping[str, Any], links: Links) -> None:
        self._own, self._down = Fib(dict(rows)), links.down
        self._addresses: dict[tuple[str, int], Address] = {
            (own.port, own.interface.version): own.interface.ip for own in own_addresses(config) if own.primary
        }
        self._speaks_ipv6 = frozenset(port for port, version in self._addresses if version == 6)
        self._found: dict[tuple[bytes, str | None], tuple[str | None, str]] = {}

    def on_link(self, port: str, route: Route) -> Row:
        """The row of a network directly behind a port, from one of whose addresses ARP requests are sent."""
        own = self._addresses.get((port, route.version))
        return Row(CONNECTED, port, own if own is not None else route.nexthop)

    def way_of(self, route: Route) -> tuple[str | None, str]:
        """The port that a route leaves by; or None, and the reason."""
        known = self._found.get((route.wide, route.interface))
        if known is None:
            known = self._found[route.wide, route.interface] = self._way_of(route.nexthop, route.interface)
        return known

    def _way_of(self, nexthop: Address, interface: str | None) -> tuple[str | None, str]:
        if nexthop.version == 6 and nexthop.is_link_local:
            if interface is None:
                return None, "a link-local next hop needs an interface"
            if interface not in self._speaks_ipv6:
                return None, f"port {interface} has no IPv6 address"
            if interface in self._down:
                return None, f"port {interface} is down"
            return interface, ""
        if nexthop.is_unspecified and interface is not None:
            if (interface, nexthop.version) not in self._addresses:
                return None, f"port {interface} has no address of its family"
            return (None, f"port {interface} is down") if interface in self._down else (interface, "")
        row = self._own.find(nexthop)
        if row is None:
            return None, f"no port has a subnet with {nexthop}"
        if row.kind != CONNECTED:
            return None, f"{nexthop} is {'the router' if row.kind == LOCAL else 'a subnet'}'s own address"
        if interface is not None and interface != row.port:
            return None, f"{nexthop} is behind port {row.port}, not {interface}"
        return row.port, ""
