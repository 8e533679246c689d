"""The dispatcher's control plane: converts its configuration to table rows, and back.

The model's bindings fill the tables of rules and of subnets. Ports, addresses, ranges and sessions are handled here.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any

from cubes.k8sdispatcher.check import check
from cubes.lib.layout import index, number, pack, unpack
from cubes.lib.ranges import span_of
from cubes.lib.sessions import MIGRATIONS, rows_for
from reconciler.service.sdk import Env, TableRows, decode, encode

__all__ = ["CUTS", "LEAVES_HOST", "MIGRATIONS", "SCRATCH", "check", "config", "sizes", "state", "tables"]

Config = Mapping[str, Any]
Live = Mapping[str, Mapping[bytes, bytes]]

KINDS = {"BACKEND": 1, "FRONTEND": 2}  # enum port_kind in bpf/k8sdispatcher/k8sdispatcher.h
POD_TO_EXT, NODEPORT_CLUSTER = 1, 2  # enum kind
SCRATCH = frozenset({"clocks", "packets"})
CUTS = {"sessions": "all sessions"}
LEAVES_HOST = True
INTERNAL = ("internal-src-ip", "internal-src-ipv6")
RANGES = {"port-range": ("low", "high", "1024-29999"), "nodeport-range": ("nodeport_low", "nodeport_high", "30000-32767")}
_IPV4, _IPV6 = 1, 2  # enum said
_PROTO_NAMES = {1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPV6"}


def sizes(config: Config) -> dict[str, int]:
    return rows_for(config.get("sessions", 65536))


def tables(config: Config, env: Env, tables: Mapping[str, Any]) -> dict[str, TableRows]:
    found = {
        "ports": dict(_port_rows(config, env, tables["ports"].value)),
        "addresses": dict(_address_rows(config, tables["addresses"].value)),
        "ranges": {index(0): pack(tables["ranges"].value, **_ranges(config))},
    }
    return {name: TableRows(rows, b"\xff" * tables[name].value.size, True) for name, rows in found.items()}


def _port_rows(config: Config, env: Env, layout: Any) -> Iterator[tuple[bytes, bytes]]:
    ports = config.get("ports", ())
    first = {kind: next((env.ports[port["name"]] + 1 for port in ports if port["type"] == kind), 0) for kind in KINDS}
    for port in ports:
        said = {"ipv4": ipaddress.IPv4Address(port["ip"]).packed} if "ip" in port else {}
        said |= {"ipv6": ipaddress.IPv6Address(port["ipv6"]).packed} if "ipv6" in port else {}
        flags = (_IPV4 if "ip" in port else 0) | (_IPV6 if "ipv6" in port else 0)
        other = first["BACKEND" if port["type"] == "FRONTEND" else "FRONTEND"]
        yield index(env.ports[port["name"]]), pack(layout, kind=KINDS[port["type"]], other=other, flags=flags, **said)


def _address_rows(config: Config, layout: Any) -> Iterator[tuple[bytes, bytes]]:
    frontend: Config = next((port for port in config.get("ports", ()) if port["type"] == "FRONTEND"), {})
    for place, (leaf, internal) in enumerate(zip(("ip", "ipv6"), INTERNAL, strict=True)):
        said = {"node": encode("ip", frontend[leaf], 16, Env())} if leaf in frontend else {}
        said |= {"internal": encode("ip", config[internal], 16, Env())} if internal in config else {}
        if said:
            yield index(place), pack(layout, **said)


def _ranges(config: Config) -> dict[str, int]:
    found: dict[str, int] = {}
    for leaf, (low, high, default) in RANGES.items():
        found[low], found[high] = span_of(config.get(leaf, default))
    return found


# -- and back ---------------------------------------------------------------------------------------------------------


def config(rows: Live, env: Env, tables: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"ports": list(_ports_of(rows, env, tables["ports"].value))}
    said = unpack(tables["ranges"].value, rows.get("ranges", {}).get(index(0), bytes(tables["ranges"].value.size)))
    for leaf, (low, high, _) in RANGES.items():
        found[leaf] = f"{number(said[low])}-{number(said[high])}"
    for place, leaf in enumerate(INTERNAL):
        row = rows.get("addresses", {}).get(index(place))
        internal = unpack(tables["addresses"].value, row)["internal"] if row is not None else b""
        if any(internal):
            found[leaf] = decode("ip", internal, env)
    return found


def _ports_of(rows: Live, env: Env, layout: Any) -> Iterator[dict[str, Any]]:
    words = {value: word for word, value in KINDS.items()}
    for key, row in sorted(rows.get("ports", {}).items()):
        said = unpack(layout, row)
        kind, flags = number(said["kind"]), number(said["flags"])
        if kind:
            entry = {"name": env.port_name(number(key)), "type": words.get(kind, f"#{kind}")}
            entry |= {"ip": str(ipaddress.IPv4Address(said["ipv4"]))} if flags & _IPV4 else {}
            yield entry | ({"ipv6": str(ipaddress.IPv6Address(said["ipv6"]))} if flags & _IPV6 else {})


def state(rows: Live, env: Env, tables: Mapping[str, Any]) -> dict[str, Any]:
    """`config`, and what becomes of packets of the sessions that live."""
    own = [unpack(tables["addresses"].value, row) for row in rows.get("addresses", {}).values()]
    outer = {POD_TO_EXT: {said["node"] for said in own}, NODEPORT_CLUSTER: {said["internal"] for said in own}}
    found: list[dict[str, Any]] = []
    for key, row in sorted(rows.get("sessions", {}).items()):
        ends, known = unpack(tables["sessions"].key, key), unpack(tables["sessions"].value, row)
        left = number(known["expires"]) // 1_000_000_000 - env.now
        if left >= 0 and known["outside"] in outer.get(number(known["kind"]), ()):
            found += _entries_of(ends, known, env, left)
    return config(rows, env, tables) | {"session-rule": found}


def _entries_of(ends: Mapping[str, bytes], known: Mapping[str, bytes], env: Env, left: int) -> Iterator[dict[str, Any]]:
    near, far, outer = (decode("ip", raw, env) for raw in (ends["near"], ends["far"], known["outside"]))
    near_port, far_port, outer_port = (
        int.from_bytes(raw, "big") for raw in (ends["near_port"], ends["far_port"], known["outside_port"])
    )
    of_pod = number(known["kind"]) == POD_TO_EXT
    proto = number(ends["proto"])
    common = {
        "proto": _PROTO_NAMES.get(proto, str(proto)),
        "originating-rule": "POD_TO_EXT" if of_pod else "NODEPORT_CLUSTER",
        "eta": left,
    }
    out, back = ("EGRESS", "INGRESS") if of_pod else ("INGRESS", "EGRESS")
    ends_out = {"src-ip": near, "dst-ip": far, "src-port": near_port, "dst-port": far_port}
    ends_back = {"src-ip": far, "dst-ip": outer, "src-port": far_port, "dst-port": outer_port}
    yield {"direction": out, **ends_out, "new-ip": outer, "new-port": outer_port, "operation": "XLATE_SRC", **common}
    yield {"direction": back, **ends_back, "new-ip": near, "new-port": near_port, "operation": "XLATE_DST", **common}
