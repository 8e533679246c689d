"""Rules of a load balancer that no schema can express: which ports, virtual addresses and pools fit together."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any

from cubes.lbdsr.rows import weight_of
from cubes.lib.health import MOST_CHECKED, check_times
from cubes.lib.macs import is_station
from reconciler.service.sdk import Env

Said = tuple[tuple[str | int, ...], str, str]
Config = Mapping[str, Any]
MOST_POOLED = 262144  # rows of pool_list in bpf/lbdsr/lbdsr.h
MOST_OF_ONE = 16384  # backends of a pool: a ring has at least four slots for each


def check(config: Config, env: Env) -> Iterator[Said]:
    """(steps from the cube, sentence, "error" or "warning") for all that is wrong or will have no effect."""
    frontend = config.get("frontend", {})
    yield from _ports(config)
    if "mac" in frontend and not is_station(frontend["mac"]):
        yield ("frontend", "mac"), f"{frontend['mac']} is no MAC address of a station", "error"
    seen: dict[Any, str] = {}
    for steps, service in _services(config):
        if "vip" in service:
            yield from _vip((*steps, "vip"), service["vip"], seen)
        yield from _pool((*steps, "pool") if steps[0] == "service" else ("backend", "pool"), service.get("pool", ()), frontend)
    yield from _health(config)
    pool = config.get("backend", {}).get("pool", ())
    if pool and "vip" not in frontend:
        yield ("backend",), "frontend has no vip, so nothing is sent to this pool", "warning"
    count = sum(len(service.get("pool", ())) for _, service in _services(config))
    if count > MOST_POOLED:
        yield ("service",), f"{count} backends are more than the {MOST_POOLED} that a load balancer holds", "error"


def _health(config: Config) -> Iterator[Said]:
    parts = [(("backend",), config.get("backend", {}))]
    parts += [(("service", place), service) for place, service in enumerate(config.get("service", ()))]  # type: ignore[misc]
    count = 0
    for steps, part in parts:
        if "health-check" not in part:
            continue
        said, pool, at = part["health-check"], part.get("pool", ()), (*steps, "health-check")
        count += len(pool)
        for leaf, sentence, severity in check_times(said):
            yield (*at, *leaf), sentence, severity
        if "port" not in said:
            yield at, "it needs the port to ask (port): a backend here has none", "error"
        for place, entry in enumerate(pool):
            if "check-ip" not in entry and "ip" not in entry:
                yield (*steps, "pool", place), "a health-check needs the address at which to ask it (check-ip)", "error"
    if count > MOST_CHECKED:
        yield ("service",), f"{count} backends with a health-check are more than the {MOST_CHECKED} that are checked", "error"


def _services(config: Config) -> Iterator[tuple[tuple[str | int, ...], Config]]:
    yield ("frontend",), {**config.get("frontend", {}), "pool": config.get("backend", {}).get("pool", ())}
    for place, service in enumerate(config.get("service", ())):
        yield ("service", place), service


def _ports(config: Config) -> Iterator[Said]:
    ports = config.get("ports", ())
    for kind in ("FRONTEND", "BACKEND"):
        places = [place for place, port in enumerate(ports) if port["type"] == kind]
        for place in places[1:]:
            yield ("ports", place, "type"), f"there is a {kind} port already, and there can be one", "error"
        if ports and not places:
            yield ("ports", 0, "type"), f"there is no {kind} port, so nothing passes", "warning"


def _vip(steps: tuple[str | int, ...], said: str, seen: dict[Any, str]) -> Iterator[Said]:
    address = ipaddress.ip_address(said)
    if address in seen:
        yield steps, f"{said} is a virtual address already ({seen[address]})", "error"
    seen[address] = "/".join(map(str, steps[:-1]))
    if sentence := _unfit(address):
        yield steps, f"{said} {sentence}", "error"


def _pool(steps: tuple[str | int, ...], pool: Any, frontend: Config) -> Iterator[Said]:
    for place, entry in enumerate(pool):
        at, mode = (*steps, place), entry.get("mode", "L2")
        if not is_station(entry["mac"]):
            yield (*at, "mac"), f"{entry['mac']} is no MAC address of a station", "error"
        if mode == "L2":
            if "ip" in entry:
                yield (*at, "ip"), "an address is for mode IPIP and GUE: with L2 the frame goes by its MAC address", "error"
            continue
        if "ip" not in entry:
            yield at, f"mode {mode} needs the address at which the tunnel ends (ip)", "error"
            continue
        address = ipaddress.ip_address(entry["ip"])
        leaf = "tunnel-ip" if address.version == 4 else "tunnel-ipv6"
        if sentence := _unfit(address):
            yield (*at, "ip"), f"{address} {sentence}", "error"
        elif leaf not in frontend:
            yield (*at, "ip"), f"frontend needs {leaf}, from which tunnels to {address} come", "error"
    if pool and all(not entry.get("weight", 1) for entry in pool):
        yield (*steps, 0, "weight"), "all backends have weight 0, so none gets a new flow", "error"
    elif pool and not any(map(weight_of, pool)):
        yield (*steps, 0, "state"), "no backend is ACTIVE with a weight, so none gets a new flow", "warning"
    if len(pool) > MOST_OF_ONE:
        yield (*steps, MOST_OF_ONE), f"a pool has {MOST_OF_ONE} backends at most, and this has {len(pool)}", "error"


def _unfit(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    if address.is_multicast or address.is_loopback or address.is_unspecified or (address.version == 4 and address.is_reserved):
        return "is no address that a server can have"
    if address.version == 6 and (address.ipv4_mapped or address.is_link_local):
        return "is no address that a server can have here: it is link-local, or IPv4 in IPv6's notation"
    return ""
