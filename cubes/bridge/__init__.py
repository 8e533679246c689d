"""The bridge's control plane: its configuration as rows of its tables, and back.

`ports` says how each port treats tags, `vlans` which ports carry each VLAN.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cubes.bridge.check import check
from cubes.bridge.settings import Port, ports_of
from cubes.lib.layout import index, number, pack, unpack
from reconciler.service.sdk import Env, TableRows, decode, encode

__all__ = ["check", "config", "tables"]

USED, TRUNK, ALL, NO_NATIVE = 1, 2, 4, 8  # enum port_flags in bpf/bridge/bridge.h
EVERY_VLAN = 0  # the row of `vlans` for the ports that carry all

Config = Mapping[str, Any]
Live = Mapping[str, Mapping[bytes, bytes]]


# -- configuration to rows --------------------------------------------------------------------------------------------


def tables(config: Config, env: Env, tables: Mapping[str, Any]) -> dict[str, TableRows]:
    ports = list(ports_of(config))
    found = {
        "ports": {index(env.ports[port.name]): _port_row(port, env, tables["ports"].value) for port in ports},
        "vlans": {index(vlan): row for vlan, row in _vlan_rows(ports, env, tables["vlans"].value)},
    }
    return {name: TableRows(rows, b"\xff" * tables[name].value.size, sparse=True) for name, rows in found.items()}


def _port_row(port: Port, env: Env, layout: Any) -> bytes:
    chosen = {TRUNK: port.trunk, ALL: port.all_vlans, NO_NATIVE: not port.native_enabled}
    flags = USED | sum(flag for flag, holds in chosen.items() if holds)
    mac = encode("mac", port.mac, 6, env) if port.mac else bytes(6)
    return pack(layout, flags=flags, vlan=port.native, native=port.said_native, mac=mac)


def _vlan_rows(ports: list[Port], env: Env, layout: Any) -> Iterator[tuple[int, bytes]]:
    """Sets of ports are a bit for each port's number. A native VLAN has a row even where row 0 says that the port carries it."""
    members: dict[int, int] = {}
    untagged: dict[int, int] = {}
    for port in ports:
        bit = 1 << env.ports[port.name]
        for vlan in {EVERY_VLAN} if port.all_vlans else port.allowed:
            members[vlan] = members.get(vlan, 0) | bit
        if port.native:
            untagged[port.native] = untagged.get(port.native, 0) | bit
    for vlan in members.keys() | untagged.keys():
        yield vlan, pack(layout, members=members.get(vlan, 0), untagged=untagged.get(vlan, 0))


# -- and back ---------------------------------------------------------------------------------------------------------


def config(rows: Live, env: Env, tables: Mapping[str, Any]) -> dict[str, Any]:
    return {"ports": list(_ports_of(rows, env, tables))}


def _ports_of(rows: Live, env: Env, tables: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    layout = tables["vlans"].value
    members = {number(key): number(unpack(layout, row)["members"]) for key, row in rows.get("vlans", {}).items()}
    for key, row in sorted(rows.get("ports", {}).items()):
        said, port = unpack(tables["ports"].value, row), number(key)
        flags = number(said["flags"])
        if not flags & USED:
            continue
        entry: dict[str, Any] = {"name": env.port_name(port)}
        if any(said["mac"]):
            entry["mac"] = decode("mac", said["mac"], env)
        if flags & TRUNK:
            carried = sorted(vlan for vlan, ports in members.items() if ports >> port & 1 and vlan != EVERY_VLAN)
            yield entry | {"mode": "trunk", "trunk": _trunk(carried, flags, number(said["native"]))}
        else:
            yield entry | {"mode": "access", "access": {"vlanid": number(said["vlan"])}}


def _trunk(carried: list[int], flags: int, native: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        "allowed": [{"vlanid": vlan} for vlan in carried],
        "allow-all": bool(flags & ALL),
        "native-vlan-enabled": not flags & NO_NATIVE,
    }
    return found | ({"native-vlan": native} if native else {})
