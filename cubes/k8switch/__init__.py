"""The control plane of the pods' switch: its configuration as rows of its tables, and back.

The model's bindings fill `fwd_table` and what is kept of services; what follows from services is cubes/lib/balancer.py's. Ports
and the node's networks are here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cubes.k8switch.check import FAMILIES, check
from cubes.lib.balancer import sessions
from cubes.lib.balancer_rows import derive
from cubes.lib.layout import index, number, pack, unpack
from cubes.lib.macs import default_mac
from reconciler.service.sdk import Env, TableRows, decode, encode

__all__ = ["CUTS", "SCRATCH", "check", "config", "constants", "programs", "state", "tables"]

Config = Mapping[str, Any]
Live = Mapping[str, Mapping[bytes, bytes]]

KINDS = {"DEFAULT": 1, "NODEPORT": 2}  # enum port_kind in bpf/k8switch/k8switch.h
MAIN, ND, ICMP, REJECT = range(4)  # enum switch_program
FIRST_ALIAS = 2
SCRATCH = frozenset({"clocks", "packets"})
CUTS = {"members": "flows to the backends that go", "flows": "all flows"}
_STAGED = ("members", "rings", "client_ranges")  # nothing leads to their rows but what is written after them
_LENGTHS = ("cluster_length", "length", "virtual_length")  # of `struct subnets`, in the order of FAMILIES' leaves


def constants(config: Config) -> dict[str, int]:
    """Without services packets are looked up in fwd-table only; without a NODEPORT port none arrives from outside."""
    return {"SERVES": int(_serves(config)), "NODEPORT": int(any(_kind(port) == "NODEPORT" for port in config.get("ports", ())))}


def _serves(config: Config) -> bool:
    return bool(config.get("service")) or any(family[0] in config for family in FAMILIES)


def programs(config: Config) -> dict[str, Sequence[int]]:
    return {"ingress": (MAIN, ND, ICMP, REJECT) if _serves(config) else (MAIN, ND)}


def _kind(port: Config) -> str:
    return str(port.get("type", "DEFAULT"))


def tables(config: Config, env: Env, tables: Mapping[str, Any]) -> dict[str, TableRows]:
    mac = encode("mac", default_mac(env.cube, ""), 6, env)
    found: dict[str, dict[bytes, bytes]] = {
        "ports": {
            index(env.ports[port["name"]]): pack(tables["ports"].value, kind=KINDS[_kind(port)], mac=mac)
            for port in config.get("ports", ())
        },
        "subnets": dict(_subnet_rows(config, tables["subnets"].value)),
    }
    found |= derive(config, tables)
    arrays = ("ports", "subnets", "vip_marks")
    return {
        name: TableRows(rows, b"\xff" * tables[name].value.size, name in arrays, name in _STAGED, bits=name == "vip_marks")
        for name, rows in found.items()
    }


def _subnet_rows(config: Config, layout: Any) -> Iterator[tuple[bytes, bytes]]:
    for place, leaves in enumerate(FAMILIES):
        fields: dict[str, Any] = {}
        for leaf, name, length_name in zip(leaves, ("cluster", "client", "virtual"), _LENGTHS, strict=True):
            if leaf not in config:
                continue
            raw = encode("prefix", config[leaf], 20, Env())
            length = number(raw[:4])
            fields |= {name: raw[4:], length_name: length}
            fields["cluster_mask" if name == "cluster" else "mask"] = ((1 << 128 - length) - 1).to_bytes(16, "big")
        if "virtual" in fields:
            hosts = min(1 << 128 - fields["virtual_length"], 1 << 31)
            fields["aliases"] = hosts - FIRST_ALIAS - 1  # nor is it the last one, which is a broadcast's
        if fields:
            yield index(place), pack(layout, **fields)


# -- and back ---------------------------------------------------------------------------------------------------------


def config(rows: Live, env: Env, tables: Mapping[str, Any]) -> dict[str, Any]:
    words = {value: word for word, value in KINDS.items()}
    found: dict[str, Any] = {"ports": []}
    for key, row in sorted(rows.get("ports", {}).items()):
        kind = number(unpack(tables["ports"].value, row)["kind"])
        if kind:
            found["ports"].append({"name": env.port_name(number(key)), "type": words.get(kind, f"#{kind}")})
    for place, leaves in enumerate(FAMILIES):
        said = unpack(tables["subnets"].value, rows.get("subnets", {}).get(index(place), bytes(tables["subnets"].value.size)))
        for leaf, name, length in zip(leaves, ("cluster", "client", "virtual"), _LENGTHS, strict=True):
            if any(said[length]):
                found[leaf] = decode("prefix", said[length] + said[name], env)
    return found


def state(rows: Live, env: Env, tables: Mapping[str, Any]) -> dict[str, Any]:
    """`config`, and the flows whose backends are there."""
    return config(rows, env, tables) | {"session": list(sessions(rows, env, tables))}
