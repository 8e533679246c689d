"""The router's control plane: its configuration as rows of its tables, and back.

What was written is kept in tables of its own (`ports`, `secondary_addresses`, `routes`), which `config` reads back. What
packets are sent by (`fib4_…`, `fib6_…`) and what none may originate from (`martians…`) is derived from it, so a difference
there is drift.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from cubes.lib.layout import index, number, pack, unpack
from cubes.lib.macs import default_mac
from cubes.router.check import check
from cubes.router.fib import (
    KINDS,
    derive,
    link_local_address,
    links_of,
    own_addresses,
    wide,
)
from cubes.router.namespace import in_force, namespace
from cubes.router.rows import ARRAYS, made_of, table_rows
from cubes.router.slowpath import SlowPath
from cubes.router.state import fib_of
from cubes.router.tree import Branches, grow, rows_of, tree_of
from cubes.router.tree6 import Branches6, grow6, rows_of6, tree6_of
from reconciler.service.sdk import Env, Owned, TableRows, decode, encode

__all__ = ["FACTS", "SCRATCH", "SlowPath", "check", "config", "constants", "namespace", "programs", "sources", "state", "tables"]

FACTS = ("links", "shadow")  # a route over a port that is down is not used; Linux tools in the namespace may set addresses
SCRATCH = frozenset({"handovers"})

USED, IPV4, IPV6, OWN_MAC, HOSTS = 1, 2, 4, 8, 16  # enum port_flags in bpf/router/router.h
STAGED = ("fib4_blocks", "fib4_ways", "fib6_nodes", "fib6_tests", "fib6_ways")  # nothing leads there but `…_root`
MAIN, IPV6_PROGRAM, ERROR, RESOLVE = range(4)  # enum router_program

MANY = 1000  # prefixes of a tree that is kept in memory
_BRANCHES: Owned[tuple[Branches, Branches6]] = Owned(lambda: ({}, {}))
"""By cube, what its trees were built from the last time. An apply plans with it twice, and an edit changes little of it."""

Config = Mapping[str, Any]
Live = Mapping[str, Mapping[bytes, bytes]]


def sources(config: Config) -> dict[str, list[str]]:
    """Of a cube with a network namespace, C that sends packets there; no other has an instruction of it."""
    if not config.get("shadow"):
        return {}
    return {"ingress": ["router_shadow.c", "router_ipv6_shadow.c", "router_error.c", "router_resolve.c"]}


def constants(config: Config) -> dict[str, int]:
    """Whether there is anything to do for a family; without, its half of the programs is not loaded. In the namespace of a shadow
    addresses of either may be set at any time."""
    if config.get("shadow"):
        return {"IPV4": 1, "IPV6": 1, "SHORT_CUT": 0}
    versions = {own.interface.version for own in own_addresses(config)}
    short = any("short-cut" in port or "takes-for" in port for port in config.get("ports", ()))
    return {"IPV4": int(4 in versions), "IPV6": int(6 in versions), "SHORT_CUT": int(short)}


def programs(config: Config) -> dict[str, Sequence[int]]:
    return {"ingress": (MAIN, IPV6_PROGRAM, ERROR, RESOLVE) if constants(config)["IPV6"] else (MAIN, ERROR, RESOLVE)}


# -- configuration to rows --------------------------------------------------------------------------------------------


def tables(config: Config, env: Env, tables: Mapping[str, Any]) -> dict[str, TableRows]:
    config = in_force(config, env.facts, env.cube)
    fib = derive(config, links_of(config, env.facts))
    made = made_of(fib, config, env, tables)
    ports = {
        "ports": dict(_port_rows(config, env, tables["ports"])),
        "secondary_addresses": dict(_secondary_rows(config, env, tables["secondary_addresses"])),
    }
    rows = dict(made.rows) | {name: table_rows(each, tables[name], name in ARRAYS) for name, each in ports.items()}
    four, six = made.four, made.six
    known4, known6 = _BRANCHES.of(env.cube) if len(four) + len(six) >= MANY else (None, None)
    tree, tree6 = grow(four, tree_of(env.live), known4), grow6(six, tree6_of(env.live), known6)
    for each, entries in ((rows_of(tree), tree.entries), (rows_of6(tree6), tree6.entries)):
        for name, content in each.items():
            rows[name] = replace(table_rows(content, tables[name], True), staged=name in STAGED, entries=entries)
    return rows


def _port_rows(config: Config, env: Env, table: Any) -> Iterator[tuple[bytes, bytes]]:
    for port in config.get("ports", ()):
        mac = encode("mac", port.get("mac") or default_mac(env.cube, port["name"]), 6, env)
        fields: dict[str, Any] = {"mac": mac}
        flags = USED | (OWN_MAC if "mac" in port else 0)
        if "ip" in port:
            own = ipaddress.IPv4Interface(port["ip"])
            flags |= IPV4
            fields |= {"ipv4": own.ip.packed, "length4": own.network.prefixlen}
        if "ipv6" in port:
            wide = ipaddress.IPv6Interface(port["ipv6"])
            flags |= IPV6
            fields |= {"ipv6": wide.ip.packed, "length6": wide.network.prefixlen, "link_local": link_local_address(mac).packed}
        if other := port.get("takes-for") or port.get("short-cut"):
            flags |= HOSTS if "takes-for" in port else 0
            fields["other"] = env.ports[other] + 1
        yield index(env.ports[port["name"]]), pack(table.value, flags=flags, **fields)


def _secondary_rows(config: Config, env: Env, table: Any) -> Iterator[tuple[bytes, bytes]]:
    for own in own_addresses(config):
        if not own.primary:
            address, length = wide(own.interface.ip), own.interface.network.prefixlen
            yield pack(table.key, port=env.ports[own.port], address=address, length=length), index(1)


# -- and back ---------------------------------------------------------------------------------------------------------


def config(rows: Live, env: Env, tables: Mapping[str, Any]) -> dict[str, Any]:
    return {"ports": list(_ports_of(rows, env, tables)), "route": list(_routes_of(rows, env, tables))}


def state(rows: Live, env: Env, tables: Mapping[str, Any]) -> dict[str, Any]:
    """`config` with the routes in use marked, and the effective forwarding table."""
    found = config(rows, env, tables)
    words = {(entry["network"], entry["nexthop"]): active for entry, active in _live_routes(rows, env, tables)}
    for entry in found["route"]:
        entry["active"] = words[entry["network"], entry["nexthop"]]
    four, six = tree_of(rows), tree6_of(rows)
    for version, find in ((4, lambda address: four.find(address[12:])), (6, six.find)):
        ways = fib_of(version, found["ports"], rows.get("routes", {}), find, tables["fib4_ways"])
        entries = (_fib_entry(index(length) + address, way, env, tables) for (length, address), way in ways)
        found.setdefault("fib", []).extend(entries)
    return found


def _ports_of(rows: Live, env: Env, tables: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    secondary: dict[int, list[dict[str, str]]] = {}
    for key in sorted(rows.get("secondary_addresses", ())):
        said = unpack(tables["secondary_addresses"].key, key)
        address = f"{decode('ip', said['address'], env)}/{number(said['length'])}"
        secondary.setdefault(number(said["port"]), []).append({"ip": address})
    for key, row in sorted(rows.get("ports", {}).items()):
        said = unpack(tables["ports"].value, row)
        flags, port = number(said["flags"]), number(key)
        if not flags & USED:
            continue
        entry: dict[str, Any] = {"name": env.port_name(port)}
        if flags & IPV4:
            entry["ip"] = f"{ipaddress.IPv4Address(said['ipv4'])}/{number(said['length4'])}"
        if flags & IPV6:
            entry["ipv6"] = f"{ipaddress.IPv6Address(said['ipv6'])}/{number(said['length6'])}"
        if other := number(said["other"]):
            entry["takes-for" if flags & HOSTS else "short-cut"] = env.port_name(other - 1)
        if port in secondary:
            entry["secondaryip"] = secondary[port]
        if flags & OWN_MAC:
            entry["mac"] = decode("mac", said["mac"], env)
        yield entry


def _routes_of(rows: Live, env: Env, tables: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    return (entry for entry, _ in _live_routes(rows, env, tables))


def _live_routes(rows: Live, env: Env, tables: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], bool]]:
    for key, row in sorted(rows.get("routes", {}).items()):
        way, words = unpack(tables["routes"].key, key), unpack(tables["routes"].value, row)
        entry = {"network": decode("prefix", way["network"], env), "nexthop": decode("ip", way["nexthop"], env)}
        if interface := number(words["interface"]):
            entry["interface"] = env.port_name(interface - 1)
        entry["pathcost"] = number(words["pathcost"])
        yield entry, bool(number(words["active"]))


def _fib_entry(network: bytes, row: bytes, env: Env, tables: Mapping[str, Any]) -> dict[str, Any]:
    target = unpack(tables["fib4_ways"].value, row)  # of both families
    kind = number(target["kind"])
    return {
        "network": decode("prefix", network, env),
        "kind": KINDS.get(kind, f"#{kind}"),
        "port": env.port_name(number(target["port"])),
        "via": decode("ip", target["via"], env),
    }
