"""What no schema can say of a load balancer: which ports, services and backends make sense together."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from cubes.lbrp.rows import shares
from reconciler.service.sdk import EntryMemo, Env

Said = tuple[tuple[str | int, ...], str, str]
Config = Mapping[str, Any]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
MOST = {"service": 65536, "backend": 262144, "source-range": 65536}  # rows of the tables in bpf/lbrp/lbrp.h
MOST_OF_ONE = 16384  # backends of a service: a ring has at least four slots for each


def check(config: Config, env: Env) -> Iterator[Said]:
    """(steps from the cube, sentence, "error" or "warning") for all that is wrong or will have no effect."""
    yield from _ports(config)
    yield from _rewriting(config.get("src-ip-rewrite", {}))
    services = config.get("service", ())
    for place, said in enumerate(_OF_SERVICES.each(services, lambda _, service: tuple(_service(service)))):
        for steps, sentence, severity in said:
            yield ("service", place, *steps), sentence, severity
    yield from _overlaps(services)
    yield from _room(services)


def _ports(config: Config) -> Iterator[Said]:
    ports = config.get("ports", ())
    count = Counter(port["type"] for port in ports)
    multi = config.get("port_mode", "SINGLE") == "MULTI"
    for kind, most in (("FRONTEND", len(ports) if multi else 1), ("BACKEND", 1)):
        places = [place for place, port in enumerate(ports) if port["type"] == kind]
        for place in places[most:]:
            hint = "" if multi or kind == "BACKEND" else " (port_mode: MULTI has more)"
            yield ("ports", place, "type"), f"there is a {kind} port already, and there can be one{hint}", "error"
        if ports and not count[kind]:
            yield ("ports", 0, "type"), f"there is no {kind} port, so nothing passes", "warning"
    seen: dict[Any, str] = {}
    for place, port in enumerate(ports):
        addresses = [leaf for leaf in ("ip", "ipv6") if leaf in port]
        if multi and port["type"] == "FRONTEND" and not addresses:
            yield (
                ("ports", place),
                f"FRONTEND port {port['name']} needs its client's address (ip or ipv6) with port_mode MULTI",
                "error",
            )
        for leaf in addresses:
            if not multi or port["type"] == "BACKEND":
                yield ("ports", place, leaf), "only FRONTEND ports with port_mode MULTI have a client's address", "error"
            other = seen.setdefault(ipaddress.ip_address(port[leaf]), port["name"])
            if other != port["name"]:
                yield ("ports", place, leaf), f"port {other} has the client {port[leaf]} already", "error"


def _rewriting(said: Config) -> Iterator[Said]:
    leaves = ("ip-range", "new_ip_range")
    ranges = {leaf: ipaddress.ip_network(said[leaf], strict=False) for leaf in leaves if leaf in said}
    if len(ranges) == 1:
        missing = next(leaf for leaf in leaves if leaf not in ranges)
        yield ("src-ip-rewrite",), f"{missing} is missing: without it nothing is rewritten", "warning"
    if len(ranges) < 2:
        return
    old, new = ranges["ip-range"], ranges["new_ip_range"]
    for leaf in leaves:
        if str(ranges[leaf]) != said[leaf]:
            yield ("src-ip-rewrite", leaf), f"{said[leaf]} has bits behind its prefix: {ranges[leaf]} is the range", "error"
    if old.version != new.version:
        yield ("src-ip-rewrite", "new_ip_range"), f"{new} is no range for {old}: the families differ", "error"
    elif old.prefixlen != new.prefixlen:
        yield ("src-ip-rewrite", "new_ip_range"), f"/{new.prefixlen} is not as long as /{old.prefixlen} of ip-range", "error"
    elif old.overlaps(new):
        yield ("src-ip-rewrite", "new_ip_range"), f"{new} is ip-range itself", "error"


_OF_SERVICES: EntryMemo[tuple[Said, ...]] = EntryMemo()


def _service(service: Config) -> Iterator[Said]:
    vip = ipaddress.ip_address(service["vip"])
    if sentence := _unfit(vip):
        yield ("vip",), f"{vip} {sentence}", "error"
    if service["proto"] == "ICMP" and service["vport"] != 0:
        yield ("vport",), f"a service with proto ICMP has vport 0, not {service['vport']}", "error"
    if service["proto"] != "ICMP" and service["vport"] == 0:
        yield ("vport",), f"a service with proto {service['proto']} needs a port: 0 is none", "error"
    yield from _backends(service, vip)
    for place, said in enumerate(service.get("source-range", ())):
        network = ipaddress.ip_network(said, strict=False)
        if network.version != vip.version:
            yield ("source-range", place), f"{said} holds no client of {vip}: the families differ", "error"


def _backends(service: Config, vip: Address) -> Iterator[Said]:
    backends = service.get("backend", ())
    for place, backend in enumerate(backends):
        address = ipaddress.ip_address(backend["ip"])
        if address.version != vip.version:
            yield ("backend", place, "ip"), f"{address} is no backend for {vip}: the families differ", "error"
        elif sentence := _unfit(address):
            yield ("backend", place, "ip"), f"{address} {sentence}", "error"
        if service["proto"] != "ICMP" and backend["port"] == 0:
            yield ("backend", place, "port"), "0 is no port that a server listens on", "error"
    if backends and all(not backend.get("weight", 1) for backend in backends):
        yield ("backend", 0, "weight"), "all backends have weight 0, so none gets a new flow", "error"
    elif backends and not any(shares(service)):
        yield ("backend", 0, "state"), "no backend is ACTIVE with a weight, so none gets a new flow", "warning"
    elif not backends:
        yield (), "the service has no backend", "warning"
    if len(backends) > MOST_OF_ONE:
        yield ("backend", MOST_OF_ONE), f"a service has {MOST_OF_ONE} backends at most, and this has {len(backends)}", "error"


def _unfit(address: Address) -> str:
    if address.is_multicast or address.is_loopback or address.is_unspecified or (address.version == 4 and address.is_reserved):
        return "is no address that a server can have"
    if address.version == 6 and (address.ipv4_mapped or address.is_link_local):
        return "is no address that a server can have here: it is link-local, or IPv4 in IPv6's notation"
    return ""


def _overlaps(services: Any) -> Iterator[Said]:
    """One port of one protocol is one service's. Echo requests are the ICMP service's, or else that of the first with ALL."""
    seen: dict[tuple[Any, int, str], str] = {}
    for place, service in enumerate(services):
        words = ("TCP", "UDP") if service["proto"] == "ALL" else (service["proto"],)
        vip = service["vip"].lower()
        for word in words:
            other = seen.setdefault((vip, service["vport"], word), service["proto"])
            if other != service["proto"]:
                at = f"{service['vip']} {service['vport']}"
                yield ("service", place, "proto"), f"{word} on {at} is in the service with proto {other} too", "error"


def _room(services: Any) -> Iterator[Said]:
    counts = {
        "service": len(services),
        "backend": sum(len(service.get("backend", ())) for service in services),
        "source-range": sum(len(service.get("source-range", ())) for service in services),
    }
    for what, count in counts.items():
        if count > MOST[what]:
            yield ("service",), f"{count} entries of {what} are more than the {MOST[what]} that a load balancer holds", "error"
