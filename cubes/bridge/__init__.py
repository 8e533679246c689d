"""The bridge's control plane: converts its configuration to table rows, and back.

`ports` has each port's tagging, `vlans` the ports that carry each VLAN. The state of spanning trees belongs to the slow-path
worker (`slowpath`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cubes.bridge.check import check
from cubes.bridge.memory import remembered
from cubes.bridge.settings import Port, ports_of
from cubes.bridge.slowpath import SlowPath
from cubes.lib.layout import index, number, pack, unpack
from reconciler.service.sdk import Env, TableRows, decode, encode

__all__ = ["FACTS", "SCRATCH", "SlowPath", "check", "config", "state", "tables"]

FACTS = ("netdevs",)  # the worker looks at carriers
SCRATCH = frozenset({"clocks"})
USED, TRUNK, ALL, NO_NATIVE, EDGE, GUARD, SHARED = 1, 2, 4, 8, 16, 32, 64  # enum port_flags in bpf/bridge/bridge.h
ARRAYS = ("ports", "vlans")
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
    of_costs = tables["stp_costs"]
    found["stp_costs"] = {
        pack(of_costs.key, port=env.ports[port.name], vlan=vlan): pack(of_costs.value, cost=cost, priority=priority)
        for port in ports
        for vlan, (cost, priority) in port.costs.items()
    }
    return {name: TableRows(rows, b"\xff" * tables[name].value.size, name in ARRAYS) for name, rows in found.items()}


def _port_row(port: Port, env: Env, layout: Any) -> bytes:
    chosen = {TRUNK: port.trunk, ALL: port.all_vlans, NO_NATIVE: not port.native_enabled}
    chosen |= {EDGE: port.edge, GUARD: port.guard, SHARED: port.shared}
    flags = USED | sum(flag for flag, holds in chosen.items() if holds)
    mac = encode("mac", port.mac, 6, env) if port.mac else bytes(6)
    return pack(layout, flags=flags, vlan=port.native, native=port.said_native, mac=mac, id=port.identity(env.cube))


def _vlan_rows(ports: list[Port], env: Env, layout: Any) -> Iterator[tuple[int, bytes]]:
    """Sets of ports as bitmaps of port numbers. A native VLAN has a row even where row 0 already includes the port."""
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


def state(rows: Live, env: Env, tables: Mapping[str, Any]) -> dict[str, Any]:
    """`config`, and what each port does in each spanning tree."""
    found = list(_ports_of(rows, env, tables))
    for entry in found:
        number_, known = env.ports.get(entry["name"], -1), {each["vlan"]: each for each in entry.get("stp", ())}
        for key, row in sorted(rows.get("stp_memory", {}).items()):
            said = unpack(tables["stp_memory"].key, key)
            port = remembered(row)
            if number(said["port"]) == number_ and port is not None:
                known.setdefault(number(said["vlan"]), {"vlan": number(said["vlan"])})["state"] = port.state
        if known:
            entry["stp"] = [known[vlan] for vlan in sorted(known)]
    return {"ports": found}


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
        entry |= {"edge-port": bool(flags & EDGE), "bpdu-guard": bool(flags & GUARD), "point-to-point": not flags & SHARED}
        if costs := list(_costs_of(rows, port, tables["stp_costs"])):
            entry["stp"] = costs
        if flags & TRUNK:
            carried = sorted(vlan for vlan, ports in members.items() if ports >> port & 1 and vlan != EVERY_VLAN)
            yield entry | {"mode": "trunk", "trunk": _trunk(carried, flags, number(said["native"]))}
        else:
            yield entry | {"mode": "access", "access": {"vlanid": number(said["vlan"])}}


def _costs_of(rows: Live, port: int, table: Any) -> Iterator[dict[str, Any]]:
    for key, row in sorted(rows.get("stp_costs", {}).items()):
        at, said = unpack(table.key, key), unpack(table.value, row)
        if number(at["port"]) == port:
            yield {"vlan": number(at["vlan"]), "path-cost": number(said["cost"]), "port-priority": number(said["priority"])}


def _trunk(carried: list[int], flags: int, native: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        "allowed": [{"vlanid": vlan} for vlan in carried],
        "allow-all": bool(flags & ALL),
        "native-vlan-enabled": not flags & NO_NATIVE,
    }
    return found | ({"native-vlan": native} if native else {})
