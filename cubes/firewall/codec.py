"""The firewall's tables as configuration and state: what `pcn show` prints."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any

from cubes.firewall.epochs import head_in_force
from cubes.firewall.rule_rows import from_row
from cubes.firewall.rules import ACTIONS, CHAINS, PROTOCOLS
from cubes.firewall.texts import texts_of
from cubes.firewall.tuple_space import LABEL
from cubes.lib.address_sets import names_of, written_sets
from cubes.lib.connections import sessions
from cubes.lib.epochs import INDEX
from cubes.lib.order_labels import from_runs

PAIR = struct.Struct("=II")  # struct run_key, struct run
COUNTER = struct.Struct("=QQ")
TRACK, ACCEPT_ESTABLISHED, STRICT, REMATCH = 1, 2, 4, 8  # enum mode
DECIDERS = ("default", "established")
"""What decides where no rule does (enum decider of bpf/firewall/firewall.h)."""

Live = Mapping[str, Mapping[bytes, bytes]]


def mode_of(config: Mapping[str, Any]) -> int:
    track = TRACK if config.get("conntrack", "ON") == "ON" else 0
    strict = STRICT if config.get("pick-up", "ON") == "OFF" else 0
    rematch = REMATCH if config.get("policy-rematch", "OFF") == "ON" else 0
    return track | strict | rematch | (ACCEPT_ESTABLISHED if config.get("accept-established", "ON") == "ON" else 0)


def default_of(chain: Mapping[str, Any]) -> int:
    return ACTIONS[chain.get("default", "ACCEPT")]


def config(rows: Live) -> dict[str, Any]:
    """The configuration as the tables hold it. Names and descriptions are nowhere in them."""
    head = head_in_force(rows)
    if head is None:
        return {}
    rules = _rules(rows)
    chains = []
    for name, number in CHAINS.items():
        if head.written[number]:
            action = next((word for word, code in ACTIONS.items() if code == head.actions[number]), f"#{head.actions[number]}")
            chains.append({"name": name, "default": action, "rule": [leaves for _, leaves in rules[number]]})
    sets = written_sets(rows)
    return {
        **({"set": sets} if sets else {}),
        "conntrack": "ON" if head.mode & TRACK else "OFF",
        "accept-established": "ON" if head.mode & ACCEPT_ESTABLISHED else "OFF",
        "pick-up": "OFF" if head.mode & STRICT else "ON",
        "policy-rematch": "ON" if head.mode & REMATCH else "OFF",
        "chain": chains,
    }


def _rules(rows: Live) -> dict[int, list[tuple[int, dict[str, Any]]]]:
    """(identity, leaves with their id) of each chain's rules, in order."""
    found: dict[int, list[tuple[int, int, dict[str, Any]]]] = {0: [], 1: []}
    names, texts = names_of(rows), texts_of(rows)
    for key, row in rows.get("rules", {}).items():
        label, chain, leaves = from_row(row, names)
        leaves |= texts.get(key, {})
        found.setdefault(chain, []).append((label, LABEL.unpack(key)[0], leaves))
    runs: dict[int, dict[int, tuple[int, int]]] = {}
    for key, row in rows.get("ids", {}).items():
        chain, first = PAIR.unpack(key)
        runs.setdefault(chain, {})[first] = PAIR.unpack(row)
    listed = {}
    for chain, some in found.items():
        ids = list(from_runs(runs.get(chain, {})))
        some.sort(key=lambda each: each[:2])
        ids += range(ids[-1] + 1 if ids else 0, len(some))  # damage: some id for every rule
        listed[chain] = [(identity, {"id": number, **leaves}) for number, (_, identity, leaves) in zip(ids, some, strict=False)]
    return listed


def state(rows: Live, now: int) -> dict[str, Any]:
    """`config` with the counters of each chain, and the connections that are not over; `now` in seconds."""
    found = config(rows)
    rules = _rules(rows)
    for chain in found.get("chain", ()):
        chain["stats"] = list(_stats(rows, CHAINS[chain["name"]], rules))
    found["session-table"] = sessions(rows, now, PROTOCOLS)
    return found


def _stats(rows: Live, chain: int, rules: Mapping[int, list[tuple[int, dict[str, Any]]]]) -> Iterator[dict[str, Any]]:
    counters, decided = rows.get("counters", {}), rows.get("decided", {})
    counted = [(str(leaves["id"]), counters.get(LABEL.pack(identity))) for identity, leaves in rules[chain]]
    counted += [(what, decided.get(INDEX.pack(len(DECIDERS) * chain + at))) for at, what in enumerate(DECIDERS)]
    for what, row in counted:
        packets, size = COUNTER.unpack(row[:16]) if row else (0, 0)
        yield {"id": what, "pkts": packets, "bytes": size}
