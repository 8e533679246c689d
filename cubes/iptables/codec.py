"""The host firewall's tables as configuration and state: what `pcn show` prints."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cubes.iptables.layout import laid_out
from cubes.iptables.pieces import LABEL
from cubes.iptables.rules import ACTIONS, BUILT_IN, PROTOCOLS, Chain, chain_from_row, chains_of, from_row
from cubes.lib.address_sets import written_sets
from cubes.lib.connections import sessions
from cubes.lib.epochs import INDEX, epoch_of

COUNTER = struct.Struct("=QQ")
_VERSION = struct.Struct("=II12I")  # struct version
TRACK = 1  # of mode

Live = Mapping[str, Mapping[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class ChainHead:
    default: int = 0
    tuples: int = 0
    grid: int = 0


@dataclass(frozen=True, slots=True)
class Head:
    """A version's content beside its rules; `chains` in the order of BUILT_IN, and so is `sets` (enum sets of bpf/lib)."""

    tracked: bool
    chains: tuple[ChainHead, ...]
    sets: tuple[int, ...] = (0, 0, 0)

    def pack(self) -> bytes:
        words = [word for chain in self.chains for word in (chain.default, chain.tuples, chain.grid, 0)]
        asked = sum(said << 8 * place for place, said in enumerate(self.sets))
        return _VERSION.pack(TRACK if self.tracked else 0, asked, *words)


def head_in_force(live: Live) -> Head | None:
    epoch = epoch_of(live)
    row = live.get("versions", {}).get(INDEX.pack(epoch & 1)) if epoch else None
    if not row:
        return None
    mode, asked, *words = _VERSION.unpack(row)
    chains = tuple(ChainHead(*words[at : at + 3]) for at in range(0, len(words), 4))
    return Head(bool(mode & TRACK), chains, tuple(asked >> 8 * place & 255 for place in range(len(BUILT_IN))))


def config(rows: Live) -> dict[str, Any]:
    """The configuration as the tables hold it. Descriptions are nowhere in them."""
    head = head_in_force(rows)
    if head is None:
        return {}
    chains: dict[int, dict[str, Any]] = {}
    for key, row in sorted(rows.get("chains", {}).items(), key=lambda pair: INDEX.unpack(pair[0])):
        name, default = chain_from_row(row)
        number = INDEX.unpack(key)[0]
        if number < len(BUILT_IN):  # what packets meet
            action = head.chains[number].default
            default = next((word for word, code in ACTIONS.items() if code == action), f"#{action}")
        chains[number] = {"name": name, "default": default, "rule": []}
    for row in rows.get("rules", {}).values():
        number, leaves = from_row(row)
        if number in chains:
            chains[number]["rule"].append(leaves)
    for chain in chains.values():
        chain["rule"].sort(key=lambda leaves: leaves["id"])
    sets = written_sets(rows)
    return {**({"set": sets} if sets else {}), "conntrack": "ON" if head.tracked else "OFF", "chain": list(chains.values())}


# -- state ------------------------------------------------------------------------------------------------------------


def state(rows: Live, now: int) -> dict[str, Any]:
    """`config` with the counters of each chain, and the connections that are not over; `now` in seconds."""
    found = config(rows)
    try:
        chains = chains_of(found)
        counted = counts(chains, rows)
    except ValueError:  # damage, which `config` shows
        chains, counted = {}, {}
    for chain in found.get("chain", ()):
        if chain["name"] in chains:
            chain["stats"] = list(_stats(chains[chain["name"]], counted, rows))
    return found | {"session-table": sessions(rows, now, PROTOCOLS)}


Counts = Mapping[int, tuple[int, int]]


def counts(chains: Mapping[str, Chain], rows: Live) -> Counts:
    """Packets and bytes of each configured rule, by its identity: the sum over all places where it was inlined. A jump to a
    chain counts the rules there that decide, or return."""
    counters = rows.get("counters", {})
    found: dict[int, tuple[int, int]] = {}
    for rules in laid_out(chains).values():
        for laid in rules:
            row = counters.get(LABEL.pack(laid.identity))
            packets, size = COUNTER.unpack(row[:16]) if row else (0, 0)
            counted = laid.path[-1:] if laid.rule.action == "LOG" else laid.path
            for identity in counted:
                before = found.get(identity, (0, 0))
                found[identity] = before[0] + packets, before[1] + size
    return found


def _stats(chain: Chain, counted: Counts, rows: Live) -> Iterator[dict[str, Any]]:
    for rule in chain.rules:
        packets, size = counted.get(rule.identity, (0, 0))
        yield {"id": str(rule.id), "pkts": packets, "bytes": size}
    if chain.name in BUILT_IN:
        row = rows.get("decided", {}).get(INDEX.pack(chain.number))
        packets, size = COUNTER.unpack(row[:16]) if row else (0, 0)
        yield {"id": "default", "pkts": packets, "bytes": size}
