"""Evidence of SYN floods: the host's counters of IP and TCP, as Polycube shows them, and the cube's own."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Mapping
from typing import Any

from cubes.lib.layout import index, number
from reconciler.service.sdk import Env, TableRows, encode

FACTS = ("addresses",)
SCRATCH = frozenset({"proxy_packets"})
CUTS = {"proxy_sessions": "all that are proxied"}

Config = Mapping[str, Any]
Rows = Mapping[str, Mapping[bytes, bytes]]
_OWN = ("syns", "cookies", "carrying")  # enum counted in synflood.c


def tables(config: Config, env: Env, tables: Mapping[str, Any]) -> dict[str, TableRows]:
    """The host's addresses: SYNs to others are not answered. Raises ValueError for more than the table has room for."""
    layout = tables["own_addresses"]
    found = {ipaddress.ip_interface(each).ip for some in env.facts.get("addresses", {}).values() for each in some}
    if len(found) > layout.max_entries:
        raise ValueError(f"this host has {len(found)} addresses; {layout.max_entries} can be protected")
    rows = {encode("ip", str(each), 16, env): b"\1" for each in found}
    return {"own_addresses": TableRows(rows, b"\xff", sparse=False)}


def state(rows: Rows, env: Env, tables: Mapping[str, Any]) -> dict[str, Any]:
    counters = rows.get("counters", {})
    own = {name: number(counters.get(index(at), bytes(8))) for at, name in enumerate(_OWN)}
    proxied = number(rows.get("proxy_counters", {}).get(index(0), bytes(8)))
    return {"stats": {**_of_host(env.counters), **own, "proxied": proxied}}


def _of_host(counters: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """Nothing where the host's counters cannot be had."""
    ip, tcp = counters.get("Ip", {}), counters.get("Tcp", {})
    if not ip or not tcp:
        return {}
    received = ip.get("InReceives", 0)
    return {
        "tcpattemptfails": str(tcp.get("AttemptFails", 0)),
        "tcpoutrsts": str(tcp.get("OutRsts", 0)),
        "deliverratio": _ratio(ip.get("InDelivers", 0), received),
        "responseratio": _ratio(ip.get("OutRequests", 0), received),
        "lastupdate": time.time_ns() // 1_000_000,
    }


def _ratio(some: int, of: int) -> str:
    return f"{some / of:.6f}" if of else "0.000000"
