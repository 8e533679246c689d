"""Rules of a dispatcher that no schema can express: which ports, addresses, ranges and rules fit together."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any

from cubes.lib.ranges import span_of
from reconciler.service.sdk import Env

Said = tuple[tuple[str | int, ...], str, str]
Config = Mapping[str, Any]


def check(config: Config, env: Env) -> Iterator[Said]:
    """(steps from the cube, sentence, "error" or "warning") for all that is wrong or will have no effect."""
    yield from _ports(config)
    yield from _ranges(config)
    yield from _rules(config)
    for leaf in ("internal-src-ip", "internal-src-ipv6"):
        if leaf in config and not _is_station(config[leaf]):
            yield (leaf,), f"{config[leaf]} is no address that a host can have", "error"


def _ports(config: Config) -> Iterator[Said]:
    ports = config.get("ports", ())
    for kind in ("FRONTEND", "BACKEND"):
        places = [place for place, port in enumerate(ports) if port["type"] == kind]
        for place in places[1:]:
            yield ("ports", place, "type"), f"there is a {kind} port already, and there can be one", "error"
        if ports and not places:
            yield ("ports", 0, "type"), f"there is no {kind} port, so nothing passes", "warning"
    for place, port in enumerate(ports):
        addresses = [leaf for leaf in ("ip", "ipv6") if leaf in port]
        if port["type"] == "FRONTEND" and not addresses:
            sentence = f"FRONTEND port {port['name']} has no address (ip or ipv6), so no pod leaves the cluster"
            yield ("ports", place), sentence, "warning"
        for leaf in addresses:
            if port["type"] == "BACKEND":
                yield ("ports", place, leaf), "only the FRONTEND port has the node's address", "error"
            elif not _is_station(port[leaf]):
                yield ("ports", place, leaf), f"{port[leaf]} is no address that a host can have", "error"


def _ranges(config: Config) -> Iterator[Said]:
    said = {"port-range": config.get("port-range", "1024-29999"), "nodeport-range": config.get("nodeport-range", "30000-32767")}
    for leaf, text in said.items():
        low, high = span_of(text)
        if not 0 < low <= high <= 65535:
            yield (leaf,), f"{text} is no range of ports", "error"
            return
    (low, high), (first, last) = span_of(said["port-range"]), span_of(said["nodeport-range"])
    if low <= last and first <= high:
        leaf = "port-range" if "port-range" in config else "nodeport-range"
        both = f"{said['port-range']} and {said['nodeport-range']}"
        sentence = f"{both} overlap: a pod's connection could get the port of a service"
        yield (leaf,), sentence, "error"


def _rules(config: Config) -> Iterator[Said]:
    low, high = span_of(config.get("port-range", "1024-29999"))
    for place, rule in enumerate(config.get("nodeport-rule", ())):
        port = rule["nodeport-port"]
        yield from _port(("nodeport-rule", place, "nodeport-port"), port, rule["proto"])
        if rule["proto"] != "ICMP" and low <= port <= high:
            sentence = f"a pod's connection may have port {port} of the node too, since it is in port-range ({low}-{high})"
            yield ("nodeport-rule", place, "nodeport-port"), sentence, "warning"
    for place, rule in enumerate(config.get("external-rule", ())):
        yield from _port(("external-rule", place, "port"), rule["port"], rule["proto"])
        if not _is_station(rule["ip"]):
            yield ("external-rule", place, "ip"), f"{rule['ip']} is no address that a host can have", "error"


def _port(steps: tuple[str | int, ...], port: int, proto: str) -> Iterator[Said]:
    if proto == "ICMP" and port != 0:
        yield steps, f"a rule with proto ICMP has port 0, and with {port} no effect", "warning"
    if proto != "ICMP" and port == 0:
        yield steps, f"a rule with proto {proto} needs a port: 0 is none", "error"


def _is_station(text: str) -> bool:
    address = ipaddress.ip_address(text)
    reserved = address.version == 4 and address.is_reserved
    return not (address.is_multicast or address.is_loopback or address.is_unspecified or reserved)
