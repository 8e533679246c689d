"""The load balancer's control plane: converts its configuration to table rows, and back.

Services, backends and ranges as written are in tables of their own (`service_list`, `backend_list`, `range_list`), which the
model's bindings fill and read. The lookup tables are derived from them in cubes/lib/balancer.py; ports and src-ip-rewrite are
handled here.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any

from cubes.lbrp.check import check
from cubes.lbrp.slowpath import SlowPath, verdicts
from cubes.lib import health
from cubes.lib.balancer import sessions
from cubes.lib.balancer_rows import derive
from cubes.lib.layout import index, number, pack, unpack
from reconciler.service.sdk import Env, TableRows, decode, encode

__all__ = ["CUTS", "FACTS", "SCRATCH", "SlowPath", "check", "config", "constants", "state", "tables"]

Config = Mapping[str, Any]
Live = Mapping[str, Mapping[bytes, bytes]]

KINDS = {"FRONTEND": 1, "BACKEND": 2}  # enum port_kind in bpf/lbrp/lbrp.h
_IPV4, _IPV6 = 1, 2  # of lb_port.flags
_HAIRPIN = {"hairpin-ip": 1, "hairpin-ipv6": 0}  # leaves, and indices of hairpins
FACTS = (health.FACT,)
SCRATCH = frozenset({"clocks", "packets"})
CUTS = {"members": "flows to the backends that go", "flows": "all flows"}
_STAGED = ("members", "rings", "client_ranges")  # nothing leads to their rows but what is written after them


def constants(config: Config) -> dict[str, int]:
    """What src-ip-rewrite and hairpin take is not loaded without them."""
    return {"REWRITE": int(_rewriting(config) is not None), "HAIRPIN": int(any(leaf in config for leaf in _HAIRPIN))}


def tables(config: Config, env: Env, tables: Mapping[str, Any]) -> dict[str, TableRows]:
    found: dict[str, dict[bytes, bytes]] = {
        "ports": dict(_port_rows(config, env, tables["ports"])),
        "frontends": dict(_frontend_rows(config, env)),
        "rewritings": dict(_rewriting_rows(config, tables["rewritings"])),
        "hairpins": dict(_hairpin_rows(config, env)),
    }
    found |= derive(config, tables, health.down_of(env.facts))
    arrays = ("ports", "rewritings", "hairpins", "vip_marks")
    made = {
        name: TableRows(rows, b"\xff" * tables[name].value.size, name in arrays, name in _STAGED, bits=name == "vip_marks")
        for name, rows in found.items()
    }
    return made | (health.TABLE if SlowPath.serves(config) else {})


def _port_rows(config: Config, env: Env, table: Any) -> Iterator[tuple[bytes, bytes]]:
    ports = config.get("ports", ())
    first = {kind: next((env.ports[p["name"]] for p in ports if p["type"] == kind), 0) for kind in KINDS}
    for port in ports:
        other = first["BACKEND" if port["type"] == "FRONTEND" else "FRONTEND"]
        flags = (_IPV4 if "ip" in port else 0) | (_IPV6 if "ipv6" in port else 0)
        said = {"ipv4": ipaddress.IPv4Address(port["ip"]).packed} if "ip" in port else {}
        said |= {"ipv6": ipaddress.IPv6Address(port["ipv6"]).packed} if "ipv6" in port else {}
        yield index(env.ports[port["name"]]), pack(table.value, kind=KINDS[port["type"]], other=other, flags=flags, **said)


def _frontend_rows(config: Config, env: Env) -> Iterator[tuple[bytes, bytes]]:
    for port in config.get("ports", ()):
        for address in (port.get("ip"), port.get("ipv6")):
            if address is not None:
                yield encode("ip", address, 16, env), index(env.ports[port["name"]])


def _rewriting(config: Config) -> tuple[str, str] | None:
    said = config.get("src-ip-rewrite", {})
    return (said["ip-range"], said["new_ip_range"]) if "ip-range" in said and "new_ip_range" in said else None


def _rewriting_rows(config: Config, table: Any) -> Iterator[tuple[bytes, bytes]]:
    rule = _rewriting(config)
    if rule is not None:
        source, target = (encode("prefix", said, 20, Env()) for said in rule)
        length = number(source[:4])
        mask = ((1 << 128 - length) - 1).to_bytes(16, "big")
        yield index(0), pack(table.value, **{"from": source[4:], "to": target[4:], "mask": mask, "length": length})


def _hairpin_rows(config: Config, env: Env) -> Iterator[tuple[bytes, bytes]]:
    for leaf, place in _HAIRPIN.items():
        if leaf in config:
            yield index(place), encode("ip", config[leaf], 16, env)


# -- and back ---------------------------------------------------------------------------------------------------------


def config(rows: Live, env: Env, tables: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"ports": list(_ports_of(rows, env, tables))}
    rule = rows.get("rewritings", {}).get(index(0))
    if rule is not None and any(rule):
        said = unpack(tables["rewritings"].value, rule)
        found["src-ip-rewrite"] = {
            "ip-range": decode("prefix", said["length"] + said["from"], env),
            "new_ip_range": decode("prefix", said["length"] + said["to"], env),
        }
    own = rows.get("hairpins", {})
    found |= {leaf: decode("ip", own[index(at)], env) for leaf, at in _HAIRPIN.items() if any(own.get(index(at), b""))}
    return found


def _ports_of(rows: Live, env: Env, tables: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    words = {value: word for word, value in KINDS.items()}
    for key, row in sorted(rows.get("ports", {}).items()):
        said = unpack(tables["ports"].value, row)
        kind, flags = number(said["kind"]), number(said["flags"])
        if kind:
            entry = {"name": env.port_name(number(key)), "type": words.get(kind, f"#{kind}")}
            if flags & _IPV4:
                entry["ip"] = str(ipaddress.IPv4Address(said["ipv4"]))
            if flags & _IPV6:
                entry["ipv6"] = str(ipaddress.IPv6Address(said["ipv6"]))
            yield entry


def state(rows: Live, env: Env, tables: Mapping[str, Any]) -> dict[str, Any]:
    """`config`, the flows with existing backends, and the health of checked backends."""
    found = config(rows, env, tables) | {"session": list(sessions(rows, env, tables))}
    asked = list(verdicts(env.config, rows.get("health", {}), env.now))
    return found | ({"health": asked} if asked else {})
