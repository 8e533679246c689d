"""Rules of a nat that no schema can express: which addresses, ports and prefixes fit together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv6Network, ip_address, ip_network
from itertools import pairwise
from typing import Any

from cubes.lib.ranges import span_of
from cubes.nat.prefixes import LONGEST
from cubes.nat.rules import DNAT, LISTS, NPT, PORT_FORWARDING, SNAT, Address, Config, entries
from reconciler.service.sdk import Env

Said = tuple[tuple[str | int, ...], str, str]
MOST_ADDRESSES = 65536
EVERYBODYS = "endpoint-independent"
LEAST = {
    "tcp-established": (7440, "RFC 5382"),
    "tcp-transitory": (240, "RFC 5382"),
    "udp": (120, "RFC 4787"),
    "icmp": (60, "RFC 5508"),
}


def check(config: Mapping[str, Any], env: Env) -> Iterator[Said]:
    """(steps from the cube, sentence, "error" or "warning")."""
    yield from _ports((), config)
    if config.get("hairpin") and config.get("type", "TC") != "TC":
        yield ("hairpin",), f"this is for type TC: with {config['type']} what turns around does not arrive", "warning"
    if config.get("filtering") == EVERYBODYS != config.get("mapping"):
        yield ("filtering",), f"this is for mapping: {EVERYBODYS}: without one nobody could be reached", "error"
    for index, entry in enumerate(entries(config, SNAT)):
        yield from _snat(("rule", "snat", "entry", index), entry)
    yield from _twice(config, SNAT, "internal-net", lambda entry: ip_network(entry["internal-net"], strict=False))
    yield from _pools(config)
    for kind in (DNAT, PORT_FORWARDING):
        for index, entry in enumerate(entries(config, kind)):
            yield from _target(("rule", LISTS[kind], "entry", index), entry)
    yield from _twice(config, DNAT, "external-ip", lambda entry: ip_address(entry["external-ip"]))
    yield from _twice(config, PORT_FORWARDING, "external-port", _forwarded)
    yield from _prefixes(config)
    for leaf, (least, rfc) in LEAST.items():
        if config.get("timeouts", {}).get(leaf, least) < least:
            yield ("timeouts", leaf), f"{rfc} asks for {least} seconds at least", "warning"


def _forwarded(entry: Config) -> tuple[Address, int, str]:
    return ip_address(entry["external-ip"]), entry["external-port"], entry.get("proto", "ALL")


def _ports(path: tuple[str | int, ...], node: Config) -> Iterator[Said]:
    if "port-range" in node:
        low, high = span_of(node["port-range"])
        if high > 65535 or not 0 < low <= high:
            yield (*path, "port-range"), f"{node['port-range']} is no range of ports", "error"


def _unfit(address: Address) -> bool:
    return address.is_multicast or address.is_unspecified or address.is_loopback or (address.version == 4 and address.is_reserved)


def _snat(path: tuple[str | int, ...], entry: Config) -> Iterator[Said]:
    yield from _ports(path, entry)
    inside, first = ip_network(entry["internal-net"], strict=False), ip_address(entry["external-ip"])
    if _host_bits(entry["internal-net"]):
        yield (*path, "internal-net"), f"the prefix has bits set beyond its length of {inside.prefixlen}", "error"
    if _unfit(first):
        yield (*path, "external-ip"), f"{first} is no address that a host can have", "error"
    if inside.version != first.version:
        yield (*path, "external-ip"), f"{first} and {inside} are of different families", "error"
    if "last-external-ip" not in entry:
        return
    last = ip_address(entry["last-external-ip"])
    if last.version != first.version:
        yield (*path, "last-external-ip"), f"{last} and {first} are of different families", "error"
    elif int(last) < int(first):
        yield (*path, "last-external-ip"), f"{last} is before {first}", "error"
    elif int(last) - int(first) >= MOST_ADDRESSES or int(last) >> 32 != int(first) >> 32:
        sentence = f"a pool has at most {MOST_ADDRESSES} addresses, and of IPv6 their first 96 bits are the same"
        yield (*path, "last-external-ip"), sentence, "error"


def _host_bits(text: str) -> bool:
    address = ip_address(text.partition("/")[0])
    return int(address) != int(ip_network(text, strict=False).network_address)


def _twice(config: Config, kind: int, leaf: str, what: Any) -> Iterator[Said]:
    seen: dict[Any, int] = {}
    for index, entry in enumerate(entries(config, kind)):
        first = seen.setdefault(what(entry), entry["id"])
        if first != entry["id"]:
            yield ("rule", LISTS[kind], "entry", index, leaf), f"entry {first} is for the same already", "error"


def _pools(config: Config) -> Iterator[Said]:
    """Two pools share all of their addresses or none: a partly shared address would belong to two rules."""
    pools = []
    for index, entry in enumerate(entries(config, SNAT)):
        first, last = ip_address(entry["external-ip"]), ip_address(entry.get("last-external-ip", entry["external-ip"]))
        if first.version == last.version and int(first) <= int(last):
            pools.append((first.version, int(first), int(last), index, entry["id"]))
    pools.sort()
    for before, after in pairwise(pools):
        if before[0] == after[0] and before[2] >= after[1] and before[1:3] != after[1:3]:
            later = max(before, after, key=lambda pool: pool[3])
            other = min(before, after, key=lambda pool: pool[3])
            sentence = f"the pool shares some addresses with that of entry {other[4]}, not all"
            yield ("rule", "snat", "entry", later[3], "external-ip"), sentence, "error"


def _target(path: tuple[str | int, ...], entry: Config) -> Iterator[Said]:
    outside, inside = ip_address(entry["external-ip"]), ip_address(entry["internal-ip"])
    for leaf, address in (("external-ip", outside), ("internal-ip", inside)):
        if _unfit(address):
            yield (*path, leaf), f"{address} is no address that a host can have", "error"
    if outside.version != inside.version:
        yield (*path, "internal-ip"), f"{inside} and {outside} are of different families", "error"
    for leaf in ("external-port", "internal-port"):
        if entry.get(leaf) == 0:
            yield (*path, leaf), "0 is no port", "error"


def _prefixes(config: Config) -> Iterator[Said]:
    seen: list[tuple[int, IPv6Network, IPv6Network]] = []
    for index, entry in enumerate(entries(config, NPT)):
        path = ("rule", "nptv6", "entry", index)
        inside, outside = (IPv6Network(entry[leaf], strict=False) for leaf in ("internal-prefix", "external-prefix"))
        for leaf, prefix in (("internal-prefix", inside), ("external-prefix", outside)):
            if _host_bits(entry[leaf]):
                yield (*path, leaf), f"the prefix has bits set beyond its length of {prefix.prefixlen}", "error"
            if prefix.prefixlen > LONGEST:
                yield (*path, leaf), f"a prefix has at most {LONGEST} bits", "error"
        if inside.prefixlen != outside.prefixlen:
            sentence = f"the prefixes have different lengths: {inside.prefixlen} and {outside.prefixlen}"
            yield (*path, "external-prefix"), sentence, "error"
        for other, known, shown in seen:
            if inside.overlaps(known):
                yield (*path, "internal-prefix"), f"entry {other} is for the same addresses", "error"
            if outside.overlaps(shown):
                yield (*path, "external-prefix"), f"entry {other} has the same addresses outside", "error"
        seen.append((entry["id"], inside, outside))
