"""The nat's rules as values: what is written, with the defaults in place, and the number that a rule's content has."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from cubes.lib.ranges import span_of

SNAT, MASQUERADE, DNAT, PORT_FORWARDING, NPT, HAIRPIN = range(1, 7)  # enum nat_kind of bpf/nat/nat.h
KINDS = {SNAT: "snat", MASQUERADE: "masquerade", DNAT: "dnat", PORT_FORWARDING: "portforwarding", HAIRPIN: "hairpin"}
LISTS = {SNAT: "snat", DNAT: "dnat", PORT_FORWARDING: "port-forwarding", NPT: "nptv6"}
PROTOCOLS = {"ALL": 0, "TCP": 6, "UDP": 17}
EVERY_PORT = "1024-65535"
EVERYBODY = {4: ip_network("::ffff:0:0/96"), 6: ip_network("::/0")}

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Config = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Source:
    """What addresses of `inside` become: one of those from `first` to `last`, with a port of `low` to `high`."""

    kind: int
    id: int
    inside: Network
    first: Address
    last: Address
    low: int
    high: int

    @property
    def number(self) -> int:
        return number_of(self)


@dataclass(frozen=True, slots=True)
class Target:
    """`outside` with this port and protocol is `inside`; port and protocol 0: any, and it stays."""

    kind: int
    id: int
    outside: Address
    port: int
    proto: int
    inside: Address
    inside_port: int

    @property
    def number(self) -> int:
        return number_of(self)


def number_of(rule: Source | Target) -> int:
    """The same for the same content, wherever and whenever: sessions by another content of a rule are not by this rule."""
    return zlib.crc32(repr(rule).encode()) or 1  # 0 is no rule's


def entries(config: Config, kind: int) -> list[Config]:
    found: list[Config] = config.get("rule", {}).get(LISTS[kind], {}).get("entry", [])
    return found


def source_rules(config: Config, masquerades: Mapping[int, Address]) -> Iterator[Source]:
    """Masquerade last: a snat rule for the same addresses has priority. `masquerades`: its addresses by family."""
    every = config.get("port-range", EVERY_PORT)
    for entry in entries(config, SNAT):
        first = ip_address(entry["external-ip"])
        last = ip_address(entry.get("last-external-ip", entry["external-ip"]))
        inside = ip_network(entry["internal-net"], strict=False)
        yield Source(SNAT, entry["id"], inside, first, last, *span_of(entry.get("port-range", every)))
    for family, address in masquerades.items():
        inside = ip_network("0.0.0.0/0" if family == 4 else "::/0")
        yield Source(MASQUERADE, 0, inside, address, address, *span_of(every))


def target_rules(config: Config) -> Iterator[Target]:
    for entry in entries(config, DNAT):
        yield Target(DNAT, entry["id"], ip_address(entry["external-ip"]), 0, 0, ip_address(entry["internal-ip"]), 0)
    for entry in entries(config, PORT_FORWARDING):
        proto = PROTOCOLS[entry.get("proto", "ALL")]
        outside, inside = ip_address(entry["external-ip"]), ip_address(entry["internal-ip"])
        yield Target(PORT_FORWARDING, entry["id"], outside, entry["external-port"], proto, inside, entry["internal-port"])
