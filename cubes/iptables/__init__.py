"""The host firewall's control plane: its configuration as rows of its tables, and back.

`rules` and `chains` hold what is written; what packets meet (`cells`, `pages`, `versions`, `epoch`) is derived from it and from
the rows that are there, so that a change costs what it changes (cubes/lib/epochs.py). `places` has the label of each rule that is
laid out. `local`, `enslaved` and `stations` follow the host's addresses and netdevs.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cubes.iptables import codec
from cubes.iptables.check import problems
from cubes.iptables.commands import COMMANDS
from cubes.iptables.details import ROW as DETAILS
from cubes.iptables.details import detail_rows
from cubes.iptables.layout import Laid, laid_out
from cubes.iptables.match import address
from cubes.iptables.pieces import KEY, LABEL, cell, pieces_of, select, tuple_rows
from cubes.iptables.rules import ACTIONS, BUILT_IN, ROW, Chain, chain_row, chains_of, to_row
from cubes.lib import connections
from cubes.lib.address_sets import numbers_of
from cubes.lib.epochs import BANK_PAGES, INDEX, page_rows, put_in_force
from cubes.lib.older import accepts
from cubes.lib.order_labels import labels
from cubes.lib.set_rows import set_rows
from reconciler.service.sdk import ActionCall, ActionDone, Env, Import, Imported, Option, TableRows

__all__ = ["COMMANDS", "CUTS", "FACTS", "IMPORTS", "MIGRATIONS", "SCRATCH", "actions", "check", "config", "cuts", "programs",
           "state", "tables"]  # fmt: skip

FACTS = ("addresses", "netdevs")
SCRATCH = frozenset({"packet_in", "packet_out"})
PROGRAMS, SETS = range(6), (6, 7)  # enum iptables_program
SRC, DST = 1, 2  # enum sets
CUTS = {"connections": "those that it tracks"}
MIGRATIONS = dict.fromkeys(connections.TABLES, connections.SPARE_NAMED)
LAYERED = frozenset({"bridge", "bond", "team", "openvswitch"})
"""Kinds of netdev that packets of those which they are the master of come up at, or leave by: there they meet the rules."""

SENDING = frozenset({"", "veth", "tun"})
"""Kinds of netdev whose drivers send what native XDP redirects, but for hardware of which only some do."""

Config = Mapping[str, Any]
Live = Mapping[str, Mapping[bytes, bytes]]
_STAGED = ("cells", "pages", "versions", "rules", "places", "details", "counters", "sets", "set_hosts", "set_prefixes")
_ARRAYS = ("epoch", "versions", "pages", "decided")
_COUNTED = ("counters",)
NOTHING = bytes(16)  # of a counter that is new


def programs(config: Config) -> dict[str, Sequence[int]]:
    """All but those that search for sets, which few rule sets request."""
    asks = any("src-set" in rule or "dst-set" in rule for chain in config.get("chain", ()) for rule in chain.get("rule", ()))
    chosen = [*PROGRAMS, *(SETS if asks else ())]
    return {"ingress": chosen, "egress": chosen}


def tables(config: Config, env: Env, tables: Mapping[str, Any]) -> dict[str, TableRows]:
    """Rows by table. Raises ValueError if the rules cannot be laid out (layout.py, pieces.select)."""
    assert tables["rules"].value.size == ROW.size, f"rules: {tables['rules'].value.size} bytes in C, {ROW.size} in Python"
    assert tables["cells"].key.size == KEY.size
    assert tables["details"].value.size == DETAILS.size
    chains = chains_of(config)
    found = {**_in_force(config, chains, env), **set_rows(config.get("set", ()), env.cube, env.live, env.facts)}
    found["rules"] = {LABEL.pack(rule.identity): to_row(chain, rule) for chain in chains.values() for rule in chain.rules}
    found["chains"] = {INDEX.pack(chain.number): chain_row(chain) for chain in chains.values()}
    found["local"] = {_wide(text): INDEX.pack(1) for texts in env.facts.get("addresses", {}).values() for text in texts}
    found["enslaved"] = dict(_enslaved(env.facts.get("netdevs", {})))
    found["stations"] = dict(_stations(config, env.facts.get("netdevs", {})))
    return {name: _table(name, rows, tables[name].value.size) for name, rows in found.items()}


def _in_force(config: Config, chains: Mapping[str, Chain], env: Env) -> dict[str, Mapping[bytes, bytes]]:
    """The rows that packets match, with labels and counters."""
    laid = laid_out(chains)
    netdevs = {name: netdev["index"] for name, netdev in env.facts.get("netdevs", {}).items()}
    numbers = numbers_of((each["name"] for each in config.get("set", ())), env.live)
    known = {LABEL.unpack(key)[0]: LABEL.unpack(row)[0] for key, row in env.live.get("places", {}).items()}
    before = codec.head_in_force(env.live)
    heads: list[codec.ChainHead] = []
    wanted: dict[bytes, list[bytes]] = {}
    tuples: list[list[bytes]] = []
    places: dict[bytes, bytes] = {}
    details = detail_rows(chains, [each for rules in laid.values() for each in rules])
    for number, name in enumerate(BUILT_IN):
        rules: Sequence[Laid] = laid.get(name, ())
        given = labels([rule.identity for rule in rules], known)
        order = [given[rule.identity] for rule in rules]
        chosen = select(tuple(pieces_of(rules, netdevs, numbers)), number, before.chains[number].grid if before else None)
        wanted |= {key: _cells(some, order) for key, some in chosen.cells.items()}
        tuples.append(tuple_rows(chosen, order))
        heads.append(codec.ChainHead(ACTIONS[chains[name].default] if name in chains else 0, len(tuples[-1]), chosen.grid))
        places |= {LABEL.pack(identity): LABEL.pack(label) for identity, label in given.items()}
    asked = tuple(_asked(laid.get(name, ())) for name in BUILT_IN)
    head = codec.Head(config.get("conntrack", "ON") == "ON", tuple(heads), asked)
    found = put_in_force({"cells": wanted}, {"pages": lambda bank: _bank(tuples, bank)}, head.pack(), env.live)
    return {**found.rows, "places": places, "details": details, "counters": dict.fromkeys(places, NOTHING)}


def _asked(rules: Sequence[Laid]) -> int:
    """enum sets: whose sets the rules of a chain request."""
    matches = [match for laid in rules for match in laid.matches]
    return (SRC if any(match.src_set for match in matches) else 0) | (DST if any(match.dst_set for match in matches) else 0)


def _cells(some: Iterable[Any], order: Sequence[int]) -> list[bytes]:
    """Two pieces of a rule may result in the same cell of a key."""
    return list(dict.fromkeys(cell(piece, order) for piece in some))


def _bank(tuples: Sequence[Sequence[bytes]], bank: int) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for number, rows in enumerate(tuples):
        found |= page_rows(rows, (number * 2 + bank) * BANK_PAGES)
    return found


def _wide(text: str) -> bytes:
    """An address as programs have it, without its prefix."""
    return address(text.partition("/")[0]).value.to_bytes(16, "big")


def _enslaved(netdevs: Mapping[str, Any]) -> Iterable[tuple[bytes, bytes]]:
    """Netdevs whose packets arrive at another one, or have passed the rules there before they leave."""
    for netdev in netdevs.values():
        master = netdevs.get(netdev.get("master", ""))
        if master is not None and master["kind"] in LAYERED:
            yield INDEX.pack(netdev["index"]), INDEX.pack(master["index"])


def _stations(config: Config, netdevs: Mapping[str, Any]) -> Iterable[tuple[bytes, bytes]]:
    """Of a cube with XDP: the address of each netdev that has one, and whether XDP can send by it."""
    hook = config.get("type", "TC")
    for netdev in netdevs.values() if hook != "TC" else ():
        mac = bytes.fromhex(netdev["mac"].replace(":", ""))
        if len(mac) == 6:
            sends = hook == "XDP_SKB" or netdev["kind"] in SENDING
            yield INDEX.pack(netdev["index"]), mac + struct.pack("<H", sends)


def _table(name: str, rows: Mapping[bytes, bytes], size: int) -> TableRows:
    mask = (b"\0" if name in _COUNTED else b"\xff") * size
    return TableRows(rows, mask, name in _ARRAYS, name in _STAGED)


def cuts(before: Config | None, config: Config) -> str:
    """Connections older than the cube, where it is inserted, or where it starts to track connections."""
    tracks = config.get("conntrack", "ON") == "ON"
    if before is not None and (not tracks or before.get("conntrack", "ON") == "ON"):
        return ""
    chains = {chain["name"]: chain for chain in config.get("chain", ())}
    first, then = ("NEW", "ESTABLISHED") if tracks else ("", "")
    if accepts(chains.get("INPUT", {}), first) and accepts(chains.get("OUTPUT", {}), then):
        return ""
    return "TCP that is older than it, as no rule accepts its packets without their SYN"


def config(rows: Live, env: Env, tables: Mapping[str, Any]) -> dict[str, Any]:
    """The rules as the tables hold them."""
    return codec.config(rows)


def state(rows: Live, env: Env, tables: Mapping[str, Any]) -> dict[str, Any]:
    """`config` with each chain's counters, and the connections."""
    return codec.state(rows, env.now)


def check(config: Config, env: Env) -> Iterable[tuple[tuple[str | int, ...], str, str]]:
    return problems(config, env.cube)


def actions(call: ActionCall) -> ActionDone:
    """apply-rules: they are in force already."""
    return ActionDone({"result": True})


def _import(texts: Mapping[str, str], options: Mapping[str, Sequence[str]]) -> Imported:
    from cubes.iptables.importers import read

    return read(texts, options)


IMPORTS = {
    "iptables-save": Import(
        "what iptables-save prints: the table filter, as the host's own firewall",
        _import,
        (Option("netdev", "SELECTOR", "where it is to be (all)"),),
    )
}
