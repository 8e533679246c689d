"""The firewall's control plane: its configuration as rows of its tables, and back.

`rules` and `ids` hold the rules as written; the lookup tables (`cells4`, `cells6`, `pages4`, `pages6`, `versions`, `epoch`)
is derived from them and from the live rows, so that an edit costs in proportion to what it changes (firewall_version). A
rule's counters are kept under its identity (firewall_rules) and stay where they are as long as it does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cubes.firewall import codec, crowding
from cubes.firewall.check import problems
from cubes.firewall.epochs import FAMILIES, Derived, Head, derive, head_in_force, rule_order
from cubes.firewall.incremental import CachedAnswer, apply_delta, derive_afresh
from cubes.firewall.migrate import MIGRATIONS
from cubes.firewall.rule_rows import ROW
from cubes.firewall.rules import ACTIONS, CHAINS, Asks, Rule, rule_list, rules_of
from cubes.firewall.set_versions import version_rows
from cubes.firewall.texts import rows_of_limits_and_logs
from cubes.firewall.tuple_selection import TupleSelection, select_tuples
from cubes.firewall.tuple_space import KEY, Numbers, other_grid
from cubes.lib.address_sets import numbers_of
from cubes.lib.older import accepts
from cubes.lib.order_labels import labels, runs
from cubes.lib.set_rows import set_digest, set_rows
from reconciler.service.sdk import Env, Import, Imported, Option, Owned, TableRows

__all__ = ["CUTS", "FACTS", "IMPORTS", "MIGRATIONS", "SCRATCH", "check", "config", "cuts", "programs", "sizes", "state", "tables"]

SCRATCH = frozenset({"packet_in", "packet_out"})
CUTS = {"connections": "those that it tracks"}
REJECT, SETS, TCP = 5, (6, 7, 8), 9  # enum firewall_program of bpf/firewall/firewall.h
SRC, DST, SMAC = 1, 2, 8  # enum sets

FACTS = ("netdevs", "addresses")  # a rule may name a netdev, and a set may be this host's addresses

Config = Mapping[str, Any]
Live = Mapping[str, Mapping[bytes, bytes]]
_STAGED = (
    "cells4", "cells6", "pages4", "pages6", "versions", "counters", "rules", "ids",
    "texts", "limits", "logging_rules", "sets", "set_hosts", "set_prefixes", "set_versions",
)  # fmt: skip
_ARRAYS = ("epoch", "versions", "pages4", "pages6", "set_versions")
_COUNTED = ("counters",)
_SOME_ROWS = 16384  # of `limits` and `logging_rules`, as the C has it


def programs(config: Config) -> dict[str, Sequence[int]]:
    """All programs but those for REJECT, and for look-ups of sets and MACs, which few rule sets need. The others are always
    loaded, and in a packet's path only if the version in force needs them, so that no edit of rules or modes loads them. Those
    for sets are loaded with the first set, even an empty one: rules can then refer to sets without a load."""
    chains = config.get("chain", ())
    asked = [rule_list(*_list_of(chain)).asks for chain in chains]
    rejects = any(chain.get("default") == "REJECT" for chain in chains) or any(asks.rejects for asks in asked)
    looks_up = bool(config.get("set")) or any(asks.sets or asks.smac for asks in asked)
    chosen = [*range(REJECT), TCP, *([REJECT] if rejects else ()), *(SETS if looks_up else ())]
    return {"ingress": chosen, "egress": chosen}


def sizes(config: Config) -> dict[str, int]:
    """Rows by table: settled TCP connections; half as many of other protocols (`streams`), and of those being opened or closed
    (`openings`). Rows that only some rules have are counted twice, since an edit may replace them all."""
    most = config.get("max-connections", 65536)
    lists = [rule_list(*_list_of(chain)) for chain in config.get("chain", ())]
    some = [rule for found in lists if found.asks.has_rows for rule in found.rules]
    rows = {
        "limits": _twice(sum(rule.rate is not None for rule in some)),
        "logging_rules": _twice(sum(rule.action == ACTIONS["LOG"] for rule in some)),
    }
    return {"connections": most, "streams": most // 2, "openings": most // 2, **rows}


def _twice(count: int) -> int:
    return max(_SOME_ROWS, 1 << (2 * count - 1).bit_length())


def _list_of(chain: Config) -> tuple[int, Sequence[Config]]:
    return CHAINS[chain["name"]], chain.get("rule", ())


def tables(config: Config, env: Env, tables: Mapping[str, Any]) -> dict[str, TableRows]:
    """Rows by table. Raises ValueError if the rules cannot be laid out (tuple_selection.select_tuples)."""
    _agree(tables)
    chains = {CHAINS[chain["name"]]: chain for chain in config.get("chain", ())}
    known = _answer(config, chains, env)
    sets = set_rows(config.get("set", ()), env.cube, env.live, env.facts)
    found = {**known.rows, **sets, **_rows_of_some(chains)}
    rematches = config.get("policy-rematch", "OFF") == "ON"
    found["set_versions"] = version_rows(env.live, set_digest(env.cube, sets) if rematches else None)
    found["ids"] = _ids(chains)
    there = env.live.get("counters", {})
    found["counters"] = there if there == found["counters"] else found["counters"]  # the same object is not compared again
    return {name: _table(name, rows, tables[name].value.size) for name, rows in found.items()}


def _rows_of_some(chains: Mapping[int, Config]) -> dict[str, dict[bytes, bytes]]:
    lists = [rule_list(*_list_of(chain)) for chain in chains.values()]
    each = ((number, rule) for found in lists if found.asks.has_rows for number, rule in zip(found.ids, found.rules, strict=True))
    return rows_of_limits_and_logs(each)


_OF_A_CUBE = 3  # answers: what is in force, what is planned
_ANSWERS: Owned[deque[CachedAnswer]] = Owned(lambda: deque(maxlen=_OF_A_CUBE))
"""The last ones, by cube."""


def _answer(config: Config, chains: Mapping[int, Config], env: Env) -> CachedAnswer:
    rules = {number: rules_of(*_list_of(chain)) for number, chain in chains.items()}
    numbers = _numbers(config, chains, env)
    before = head_in_force(env.live)
    answers = _ANSWERS.of(env.cube)
    if before is not None:
        head = _head(config, chains, {(n, at): before.grids[n][at] for n in rules for at in (0, 1)})
        for known in answers:
            if known.is_about(rules, head, numbers) and known.holds_for(env.live):
                known.warm_index(env.live)
                return known
        for known in answers:
            edited = apply_delta(known, rules, head, env.live, numbers)
            if edited is not None:
                answers.appendleft(edited)
                return edited
    answers.appendleft(_anew(config, chains, rules, before, env, numbers))
    return answers[0]


def _numbers(config: Config, chains: Mapping[int, Config], env: Env) -> Numbers:
    """Numbers of the netdevs and sets that rules name; other netdevs and sets may appear and disappear."""
    asked = [rule_list(*_list_of(chain)).asks for chain in chains.values()]
    there, sets = env.facts.get("netdevs", {}), numbers_of((each["name"] for each in config.get("set", ())), env.live)
    netdevs = {name: there[name]["index"] for asks in asked for name in asks.devices if name in there}
    return Numbers(netdevs, {name: sets[name] for asks in asked for name in asks.sets})


def _anew(
    config: Config,
    chains: Mapping[int, Config],
    rules: Mapping[int, Sequence[Rule]],
    before: Head | None,
    env: Env,
    numbers: Numbers,
) -> CachedAnswer:
    order: dict[int, int] = {}
    for some in rules.values():
        order |= labels([rule.identity for rule in some], rule_order(env.live, some))
    layouts = {
        (number, family): select_tuples(tuple(some), family, before.grids[number][at] if before else None, numbers)
        for number, some in rules.items()
        for at, family in enumerate(FAMILIES)
    }

    def on(layouts: Mapping[tuple[int, int], TupleSelection]) -> tuple[Head, Derived]:
        head = _head(config, chains, {(n, at): layouts[n, family].grid for n in rules for at, family in enumerate(FAMILIES)})
        return head, derive(layouts, order, head, env.live, numbers)

    head, found = on(layouts)
    changes = before is not None and found.rows["epoch"] != env.live.get("epoch")
    for place, layout in layouts.items() if changes else ():
        if crowding.is_crowded(layout.sizes, found.rows[f"cells{place[1]}"]):
            other = select_tuples(tuple(rules[place[0]]), place[1], other_grid(layout.grid), numbers)
            layouts = {**layouts, place: other}
            head, found = on(layouts)
    return derive_afresh(rules, order, head, env.live, numbers, found)


def _head(config: Config, chains: Mapping[int, Config], grids: Mapping[tuple[int, int], int]) -> Head:
    """`grids` by chain and place of the family."""
    return Head(
        codec.mode_of(config),
        (codec.default_of(chains.get(0, {})), codec.default_of(chains.get(1, {}))),
        ((grids.get((0, 0), 0), grids.get((0, 1), 0)), (grids.get((1, 0), 0), grids.get((1, 1), 0))),
        (0 in chains, 1 in chains),
        sets=(_asked(chains.get(0)), _asked(chains.get(1))),
    )


def _asked(chain: Config | None) -> int:
    """enum sets: whose sets the rules of a chain match on, and whether any matches on a MAC."""
    asks = rule_list(*_list_of(chain)).asks if chain else Asks()
    return (SRC if asks.src_sets else 0) | (DST if asks.dst_sets else 0) | (SMAC if asks.smac else 0)


def _table(name: str, rows: Mapping[bytes, bytes], size: int) -> TableRows:
    mask = (b"\0" if name in _COUNTED else b"\xff") * size
    return TableRows(rows, mask, name in _ARRAYS, name in _STAGED)


def _ids(chains: Mapping[int, Config]) -> dict[bytes, bytes]:
    found = {}
    for number, chain in chains.items():
        for first, run in runs(rule_list(*_list_of(chain)).ids).items():
            found[codec.PAIR.pack(number, first)] = codec.PAIR.pack(*run)
    return found


def _agree(tables: Mapping[str, Any]) -> None:
    """Asserts that rows built here have the sizes that the C declares, in case only one of the two was changed."""
    for name, size in (("rules", ROW.size), ("cells4", 104), ("cells6", 176), ("set_hosts", 80), ("set_prefixes", 128)):
        assert tables[name].value.size == size, f"{name}: {tables[name].value.size} bytes in C, {size} in Python"
    for family in FAMILIES:
        assert tables[f"cells{family}"].key.size == KEY[family].size


def config(rows: Live, env: Env, tables: Mapping[str, Any]) -> dict[str, Any]:
    return codec.config(rows)


def state(rows: Live, env: Env, tables: Mapping[str, Any]) -> dict[str, Any]:
    """`config` with each chain's counters, and the connections."""
    return codec.state(rows, env.now)


def check(config: Config, env: Env) -> Iterable[tuple[tuple[str | int, ...], str, str]]:
    return problems(config, env)


def cuts(before: Config | None, config: Config) -> str:
    """Connections older than the cube, where it is inserted, or where it starts to track connections."""
    tracks = config.get("conntrack", "ON") == "ON"
    if before is not None and (not tracks or before.get("conntrack", "ON") == "ON"):
        return ""
    chains = {chain["name"]: chain for chain in config.get("chain", ())}
    inwards, outwards = chains.get("INGRESS", {}), chains.get("EGRESS", {})
    if tracks and config.get("pick-up", "ON") == "OFF":
        refused = not (accepts(inwards, "INVALID") and accepts(outwards, "INVALID"))
        return "TCP that is older than it, INVALID with pick-up: OFF" if refused else ""
    answered = "" if not tracks else "ESTABLISHED" if config.get("accept-established", "ON") == "OFF" else None
    if accepts(inwards, "NEW" if tracks else "") and (answered is None or accepts(outwards, answered)):
        return ""
    return "TCP that is older than it, as no rule accepts its packets without their SYN"


def _import(texts: Mapping[str, str], options: Mapping[str, Sequence[str]]) -> Imported:
    from cubes.firewall.importers import read

    return read(texts, options)


IMPORTS = {
    "iptables-save": Import(
        "what iptables-save and ip6tables-save print: the table filter, as firewalls at netdevs",
        _import,
        (
            Option("netdev", "NETDEV", "where a firewall is to be; can be repeated"),
            Option("address", "ADDRESS", "an address of this host, which then is a router; can be repeated"),
            Option("host", "", "this host forwards nothing, and FORWARD does not count"),
        ),
    )
}


def rules(config: Config) -> list[Rule]:
    """All rules of a configuration, chain by chain, in order."""
    return [rule for chain in config.get("chain", ()) for rule in rules_of(*_list_of(chain))]
