"""The nat's control plane: converts its configuration to table rows, and back.

The rules as written are in a table of their own (`rules_said`), which `config` reads back. The lookup tables (`sources`,
`targets`, `outsides`, `npt_out`, `npt_in`) are derived from them, so a difference there is drift. `rules` has a row per rule,
by a hash of its content: a session whose rule has no row is dead as soon as the row is deleted.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any

from cubes.lib.layout import index, number, pack, unpack
from cubes.lib.ranges import span_of
from cubes.lib.sessions import MIGRATIONS, rows_for
from cubes.nat.check import check
from cubes.nat.prefixes import IN_SUBNET, adjustment, mask
from cubes.nat.rules import (
    DNAT,
    EVERY_PORT,
    HAIRPIN,
    KINDS,
    LISTS,
    MASQUERADE,
    NPT,
    PORT_FORWARDING,
    PROTOCOLS,
    SNAT,
    Address,
    Source,
    Target,
    entries,
    source_rules,
    target_rules,
)
from reconciler.service.sdk import Env, TableRows, decode, encode

__all__ = ["CUTS", "FACTS", "MIGRATIONS", "SCRATCH", "check", "config", "constants", "sizes", "state", "tables"]

HAS_LAST, HAS_PORTS, HAS_IPV4, HAS_IPV6, ENABLED = 1, 2, 4, 8, 16  # of struct rule_said
FACTS = ("parent", "addresses")
SCRATCH = frozenset({"clocks", "packet_in", "packet_out"})
CUTS = {"rules": "sessions of the rules that go", "sessions": "all sessions"}
MARKS = 1024  # RULE_MARKS of bpf/nat/nat.h
CUBE = 0  # the kind under which the cube's own leaves are kept
_PROTO_NAMES = {1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPV6"}
_SAID = {number: name for name, number in PROTOCOLS.items()}

Config = Mapping[str, Any]
Live = Mapping[str, Mapping[bytes, bytes]]


def constants(config: Config) -> dict[str, int]:
    return {"NPT": int(bool(entries(config, NPT)))}


def sizes(config: Config) -> dict[str, int]:
    return rows_for(config.get("sessions", 65536))


# -- configuration to rows --------------------------------------------------------------------------------------------


def tables(config: Config, env: Env, tables: Mapping[str, Any]) -> dict[str, TableRows]:
    """Raises ValueError if masquerade has no address."""
    out: list[Source] = list(source_rules(config, masquerades(config, env)))
    back: list[Target] = list(target_rules(config))
    numbers = {rule.number for rule in out} | {rule.number for rule in back}
    found: dict[str, dict[bytes, bytes]] = {
        "rules": {index(number): index(1) for number in numbers},
        "rule_marks": {index(number % MARKS): index(number) for number in sorted(numbers, reverse=True)},
        "rules_said": dict(_said(config, tables["rules_said"])),
        "sources": {},
        "targets": {_target_key(rule, tables["targets"]): _target(rule, tables["targets"]) for rule in back},
        "outsides": {},
        "npt_out": {},
        "npt_in": {},
    }
    for source in out:
        found["sources"].setdefault(encode("prefix", str(source.inside), 20, env), _source(source, tables["sources"]))
    for target in sorted(back, key=lambda rule: rule.number):
        found["outsides"].setdefault(_wide(target.outside), index(target.number))
    for entry in entries(config, NPT):
        inside, outside = (ipaddress.IPv6Network(entry[leaf]) for leaf in ("internal-prefix", "external-prefix"))
        for name, before, after in (("npt_out", inside, outside), ("npt_in", outside, inside)):
            found[name][encode("prefix", str(before), 20, env)] = _npt(before, after, tables[name])
    return {name: TableRows(rows, b"\xff" * tables[name].value.size, name == "rule_marks") for name, rows in found.items()}


def masquerades(config: Config, env: Env) -> dict[int, Address]:
    """Masquerade's addresses by family: the configured ones, else the parent's."""
    said = config.get("rule", {}).get("masquerade", {})
    if not said.get("enabled", False):
        return {}
    found = _of_parent(env)
    for family, leaf in ((4, "external-ip"), (6, "external-ipv6")):
        if leaf in said:
            found[family] = ipaddress.ip_address(said[leaf])
    if not found and "leaves" in env.facts.get("parent", {}):
        sentence = "masquerade has no address: the port that the cube is on has none, and rule/masquerade/external-ip is not said"
        raise ValueError(sentence)
    return found


def _of_parent(env: Env) -> dict[int, Address]:
    """The first address of each family of the port, or netdev, that the cube is on."""
    parent = env.facts.get("parent", {})
    leaves, known = parent.get("leaves", {}), env.facts.get("addresses", {}).get(parent.get("netdev", ""), [])
    said = [leaves[leaf] for leaf in ("ip", "ipv6") if leaf in leaves]
    if "leaves" not in parent:
        said = [*parent.get("addresses", []), *known]
    found: dict[int, Address] = {}
    for text in said:
        address = ipaddress.ip_interface(text).ip
        if not address.is_link_local:
            found.setdefault(address.version, address)
    return found


def _source(rule: Source, table: Any) -> bytes:
    many = int(rule.last) - int(rule.first) + 1
    pool = {"first": _wide(rule.first), "addresses": many, "low": rule.low, "high": rule.high}
    return pack(table.value, **pool, rule=rule.number, id=rule.id, kind=rule.kind)


def _target_key(rule: Target, table: Any) -> bytes:
    length = 128 if not rule.port else 152 if rule.proto else 144
    return pack(table.key, length=length, address=_wide(rule.outside), port=_port(rule.port), proto=rule.proto)


def _target(rule: Target, table: Any) -> bytes:
    to = {"address": _wide(rule.inside), "port": _port(rule.inside_port)}
    return pack(table.value, **to, rule=rule.number, id=rule.id, kind=rule.kind)


def _npt(before: ipaddress.IPv6Network, after: ipaddress.IPv6Network, table: Any) -> bytes:
    change = int.from_bytes(adjustment(before, after).to_bytes(2, "big"), "little")
    in_interface = int(after.prefixlen > IN_SUBNET)
    return pack(table.value, prefix=after.network_address.packed, mask=mask(after), adjust=change, in_interface=in_interface)


# -- what is written, as rows and back -----------------------------------------------------------------------------------


def _said(config: Config, table: Any) -> Iterator[tuple[bytes, bytes]]:
    def row(kind: int, id_: int, **fields: Any) -> tuple[bytes, bytes]:
        return pack(table.key, kind=kind, id=id_), pack(table.value, **fields)

    low, high = span_of(config.get("port-range", EVERY_PORT))
    yield row(CUBE, 0, low=low, high=high)
    for entry in entries(config, SNAT):
        yield row(SNAT, entry["id"], **_snat_fields(entry))
    for kind in (DNAT, PORT_FORWARDING):
        for entry in entries(config, kind):
            ports = {"inside_port": entry.get("internal-port", 0), "outside_port": entry.get("external-port", 0)}
            ends = {"inside": _wide_of(entry["internal-ip"]), "outside": _wide_of(entry["external-ip"])}
            yield row(kind, entry["id"], **ends, **ports, proto=PROTOCOLS[entry.get("proto", "ALL")])
    for entry in entries(config, NPT):
        inside, outside = (ipaddress.IPv6Network(entry[leaf]) for leaf in ("internal-prefix", "external-prefix"))
        yield row(NPT, entry["id"], inside=inside.network_address.packed, outside=outside.network_address.packed,
                  inside_length=inside.prefixlen, outside_length=outside.prefixlen)  # fmt: skip
    said = config.get("rule", {}).get("masquerade", {})
    flags = ENABLED if said.get("enabled") else 0
    flags |= (HAS_IPV4 if "external-ip" in said else 0) | (HAS_IPV6 if "external-ipv6" in said else 0)
    if flags:
        four, six = (_wide_of(said.get(leaf, "::")) for leaf in ("external-ip", "external-ipv6"))
        yield row(MASQUERADE, 0, said=flags, outside=four, last=six)


def _snat_fields(entry: Config) -> dict[str, Any]:
    inside = ipaddress.ip_network(entry["internal-net"], strict=False)
    fields: dict[str, Any] = {"inside": _wide(inside.network_address), "inside_length": inside.prefixlen}
    fields |= {"outside": _wide_of(entry["external-ip"]), "said": 0}
    if "last-external-ip" in entry:
        fields |= {"last": _wide_of(entry["last-external-ip"]), "said": HAS_LAST}
    if "port-range" in entry:
        fields["low"], fields["high"] = span_of(entry["port-range"])
        fields["said"] |= HAS_PORTS
    return fields


def config(rows: Live, env: Env, tables: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    rule: dict[str, Any] = {}
    for key, row in sorted(rows.get("rules_said", {}).items()):
        of, said = unpack(tables["rules_said"].key, key), unpack(tables["rules_said"].value, row)
        kind, id_ = number(of["kind"]), number(of["id"])
        if kind == CUBE:
            found["port-range"] = f"{number(said['low'])}-{number(said['high'])}"
        elif kind == MASQUERADE:
            rule["masquerade"] = _masquerade_of(said, env)
        elif kind in LISTS:
            rule.setdefault(LISTS[kind], {}).setdefault("entry", []).append({"id": id_} | _entry_of(kind, said, env))
    for listed in rule.values():
        listed.get("entry", []).sort(key=lambda entry: entry["id"])
    return found | ({"rule": rule} if rule else {})


def _masquerade_of(said: Mapping[str, bytes], env: Env) -> dict[str, Any]:
    flags = number(said["said"])
    found: dict[str, Any] = {"enabled": bool(flags & ENABLED)}
    found |= {"external-ip": decode("ip", said["outside"], env)} if flags & HAS_IPV4 else {}
    return found | ({"external-ipv6": decode("ip", said["last"], env)} if flags & HAS_IPV6 else {})


def _entry_of(kind: int, said: Mapping[str, bytes], env: Env) -> dict[str, Any]:
    inside, outside = decode("ip", said["inside"], env), decode("ip", said["outside"], env)
    if kind == NPT:
        return {"internal-prefix": f"{ipaddress.IPv6Address(said['inside'])}/{number(said['inside_length'])}",
                "external-prefix": f"{ipaddress.IPv6Address(said['outside'])}/{number(said['outside_length'])}"}  # fmt: skip
    if kind == DNAT:
        return {"external-ip": outside, "internal-ip": inside}
    if kind == PORT_FORWARDING:
        proto = _SAID.get(number(said["proto"]), f"#{number(said['proto'])}")
        return {"external-ip": outside, "external-port": number(said["outside_port"]), "proto": proto, "internal-ip": inside,
                "internal-port": number(said["inside_port"])}  # fmt: skip
    flags = number(said["said"])
    found = {"internal-net": f"{inside}/{number(said['inside_length'])}", "external-ip": outside}
    found |= {"last-external-ip": decode("ip", said["last"], env)} if flags & HAS_LAST else {}
    return found | ({"port-range": f"{number(said['low'])}-{number(said['high'])}"} if flags & HAS_PORTS else {})


# -- state ------------------------------------------------------------------------------------------------------------


def state(rows: Live, env: Env, tables: Mapping[str, Any]) -> dict[str, Any]:
    """The sessions and mappings that live: their time is not over, and their rule is there."""
    sessions, mappings = [], []
    there = rows.get("rules", {})
    for key, row in sorted(rows.get("sessions", {}).items()):
        ends, known = unpack(tables["sessions"].key, key), unpack(tables["sessions"].value, row)
        left = number(known["expires"]) // 1_000_000_000 - env.now
        if left < 0 or known["rule"] not in there:
            continue
        if number(ends["any_far"]):
            mappings.append(_near(ends, known, env) | {"eta": left})
        else:
            sessions.append(_session(ends, known, env) | {"eta": left})
    return {"natting-table": sessions, "mapping-table": mappings}


def _near(ends: Mapping[str, bytes], known: Mapping[str, bytes], env: Env) -> dict[str, Any]:
    proto = number(ends["proto"])
    return {"internal-src": decode("ip", ends["near"], env), "internal-sport": _read_port(ends["near_port"]),
            "proto": _PROTO_NAMES.get(proto, str(proto)), "external-ip": decode("ip", known["outside"], env),
            "external-port": _read_port(known["outside_port"])}  # fmt: skip


def _session(ends: Mapping[str, bytes], known: Mapping[str, bytes], env: Env) -> dict[str, Any]:
    kind = number(known["kind"])
    found = _near(ends, known, env)
    found |= {"internal-dst": decode("ip", ends["far"], env), "internal-dport": _read_port(ends["far_port"])}
    found["originating-rule"] = KINDS.get(kind, f"#{kind}")
    return found if kind in (HAIRPIN, MASQUERADE) else found | {"rule-id": number(known["id"])}


# -- bytes ------------------------------------------------------------------------------------------------------------


def _wide(address: Address) -> bytes:
    return encode("ip", str(address), 16, Env())


def _wide_of(text: str) -> bytes:
    return _wide(ipaddress.ip_address(text))


def _port(port: int) -> bytes:
    return port.to_bytes(2, "big")


def _read_port(raw: bytes) -> int:
    return int.from_bytes(raw, "big")
