"""The load balancer's control plane: its configuration as rows of its tables, and back.

What was written is kept in `settings`, `service_list` and `pool_list`, which `config` reads back. What packets are sent by
(`services`, `members`, `rings`) is derived from it, so a difference there is drift.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from cubes.lbdsr.check import check
from cubes.lbdsr.rows import MODES, NO_VIP, STATES, derive, pools
from cubes.lbdsr.slowpath import SlowPath, verdicts
from cubes.lib import health
from cubes.lib.layout import index, number, pack, unpack
from cubes.lib.macs import default_mac
from reconciler.service.sdk import Env, TableRows, decode, encode

__all__ = ["CUTS", "FACTS", "SCRATCH", "SlowPath", "check", "config", "state", "tables"]

Config = Mapping[str, Any]
Live = Mapping[str, Mapping[bytes, bytes]]

KINDS = {"FRONTEND": 1, "BACKEND": 2}  # enum port_kind in bpf/lbdsr/lbdsr.h
SAID = {"vip": 1, "mac": 2, "tunnel-ip": 4, "tunnel-ipv6": 8}  # enum said
FACTS = (health.FACT,)
SCRATCH = frozenset({"clocks", "packets"})
CUTS = {"members": "flows to the backends that go", "flows": "all flows"}
_STAGED = ("members", "rings")  # nothing leads to their rows but what is written after them


def tables(config: Config, env: Env, tables: Mapping[str, Any]) -> dict[str, TableRows]:
    found: dict[str, dict[bytes, bytes]] = {
        "ports": dict(_port_rows(config, env, tables["ports"])),
        "settings": {index(0): _settings(config.get("frontend", {}), env, tables["settings"])},
        "service_list": {encode("ip", service["vip"], 16, env): index(1) for service in config.get("service", ())},
        "pool_list": dict(_pool_rows(config, tables["pool_list"])),
    }
    found |= derive(config, tables, health.down_of(env.facts))
    arrays = ("ports", "settings")
    made = {
        name: TableRows(rows, b"\xff" * tables[name].value.size, name in arrays, name in _STAGED) for name, rows in found.items()
    }
    return made | (health.TABLE if SlowPath.serves(config) else {})


def _port_rows(config: Config, env: Env, table: Any) -> Iterator[tuple[bytes, bytes]]:
    ports = config.get("ports", ())
    first = {kind: next((env.ports[p["name"]] for p in ports if p["type"] == kind), 0) for kind in KINDS}
    for port in ports:
        other = first["BACKEND" if port["type"] == "FRONTEND" else "FRONTEND"]
        yield index(env.ports[port["name"]]), pack(table.value, kind=KINDS[port["type"]], other=other)


def _settings(frontend: Config, env: Env, table: Any) -> bytes:
    said = sum(bit for leaf, bit in SAID.items() if leaf in frontend)
    addresses = {
        leaf.replace("-", "_"): encode("ip", frontend[leaf], 16, env) for leaf in SAID if leaf != "mac" and leaf in frontend
    }
    mac = encode("mac", frontend.get("mac") or default_mac(env.cube, "frontend"), 6, env)
    sender = encode("mac", default_mac(env.cube, "backend"), 6, env)
    return pack(table.value, **{"mac": mac, "from": sender, "said": said, **addresses})


def _pool_rows(config: Config, table: Any) -> Iterator[tuple[bytes, bytes]]:
    for key, _, entries in pools(config):
        for entry in entries:
            address = encode("ip", entry["ip"], 16, Env()) if "ip" in entry else bytes(16)
            row = pack(
                table.value,
                mac=encode("mac", entry["mac"], 6, Env()),
                mode=MODES[entry.get("mode", "L2")],
                state=STATES[entry.get("state", "ACTIVE")],
                ip=address,
                weight=entry.get("weight", 1),
            )
            yield key + struct.pack("=I", entry["id"]), row


# -- and back ---------------------------------------------------------------------------------------------------------


def config(rows: Live, env: Env, tables: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"ports": list(_ports_of(rows, env, tables))}
    row = rows.get("settings", {}).get(index(0), b"")
    if row:
        said = unpack(tables["settings"].value, row)
        bits = number(said["said"])
        frontend = {
            leaf: decode("mac" if leaf == "mac" else "ip", said[leaf.replace("-", "_")], env)
            for leaf, bit in SAID.items()
            if bits & bit
        }
        found |= {"frontend": frontend} if frontend else {}
    listed: dict[bytes, list[dict[str, Any]]] = {vip: [] for vip in sorted(rows.get("service_list", {}))}
    own: list[dict[str, Any]] = []
    for key, words in sorted(rows.get("pool_list", {}).items(), key=lambda row: (row[0][:16], number(row[0][16:]))):
        (own if key[:16] == NO_VIP else listed.setdefault(key[:16], [])).append(_entry(key, words, env, tables["pool_list"]))
    found |= {"backend": {"pool": own}} if own else {}
    services = [{"vip": decode("ip", vip, env)} | ({"pool": pool} if pool else {}) for vip, pool in listed.items()]
    return found | ({"service": services} if services else {})


def state(rows: Live, env: Env, tables: Mapping[str, Any]) -> dict[str, Any]:
    """`config`, and the health of checked backends."""
    asked = list(verdicts(env.config, rows.get("health", {}), env.now))
    return config(rows, env, tables) | ({"health": asked} if asked else {})


def _ports_of(rows: Live, env: Env, tables: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    words = {value: word for word, value in KINDS.items()}
    for key, row in sorted(rows.get("ports", {}).items()):
        kind = number(unpack(tables["ports"].value, row)["kind"])
        if kind:
            yield {"name": env.port_name(number(key)), "type": words.get(kind, f"#{kind}")}


def _entry(key: bytes, row: bytes, env: Env, table: Any) -> dict[str, Any]:
    said = unpack(table.value, row)
    entry = {
        "id": number(key[16:]),
        "mac": decode("mac", said["mac"], env),
        "mode": decode("enum", said["mode"], env, MODES),
        "weight": number(said["weight"]),
        "state": decode("enum", said["state"], env, STATES),
    }
    return entry | ({"ip": str(ipaddress.ip_address(decode("ip", said["ip"], env)))} if any(said["ip"]) else {})
