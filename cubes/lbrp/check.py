"""Rules of a load balancer that no schema can express: which ports, services and backends fit together."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from cubes.lib.balancer_check import check_services
from cubes.lib.health import MOST_CHECKED, check_times
from reconciler.service.sdk import Env

Said = tuple[tuple[str | int, ...], str, str]
Config = Mapping[str, Any]


def check(config: Config, env: Env) -> Iterator[Said]:
    """(steps from the cube, sentence, "error" or "warning") for all that is wrong or will have no effect."""
    yield from _ports(config)
    yield from _rewriting(config.get("src-ip-rewrite", {}))
    if config.get("check-source") and config.get("port_mode", "SINGLE") != "MULTI":
        yield ("check-source",), "without port_mode MULTI no client's address is known, so nothing is checked", "warning"
    if config.get("delivery") == "PEER":
        if config.get("type", "TC") != "TC":
            yield ("delivery",), "packets are put behind a netdev's far end by TC alone: the cube's type has to be TC", "error"
        elif config.get("port_mode", "SINGLE") != "MULTI":
            yield ("delivery",), "without port_mode MULTI there are no clients' ports, so it changes nothing", "warning"
    services = config.get("service", ())
    yield from check_services(services)
    yield from _health(services)


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


def _health(services: Any) -> Iterator[Said]:
    count = 0
    for place, service in enumerate(services):
        if "health-check" in service:
            said, steps = service["health-check"], ("service", place, "health-check")
            count += len(service.get("backend", ()))
            for at, sentence, severity in check_times(said):
                yield (*steps, *at), sentence, severity
            if service["proto"] in ("UDP", "ICMP") and "port" not in said:
                yield steps, f"backends are asked over TCP, so with proto {service['proto']} it needs the port (port)", "error"
    if count > MOST_CHECKED:
        yield ("service",), f"{count} backends with a health-check are more than the {MOST_CHECKED} that are checked", "error"


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
