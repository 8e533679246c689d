"""What only some rules have: limits, and what a LOG writes; by the rule at each place where it is laid out."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

from cubes.iptables.layout import Laid
from cubes.iptables.rules import Chain, Rule

ROW = struct.Struct("=QQQ32s")
"""struct rule_details of bpf/iptables/iptables_details.h."""
UNITS = {"second": 10**9, "minute": 60 * 10**9, "hour": 3600 * 10**9, "day": 86400 * 10**9}
BURST = 5
_KEY = struct.Struct("=Q")


def detail_rows(chains: Mapping[str, Chain], rules: Iterable[Laid]) -> dict[bytes, bytes]:
    """Of rules as they are laid out; `chains` are those that they are written in."""
    homes = {rule.identity: chain.name for chain in chains.values() for rule in chain.rules}
    some = [laid for laid in rules if laid.rule.action == "LOG" or laid.rule.leaf("limit")]
    return {_KEY.pack(laid.identity): _row(homes[laid.rule.identity], laid.rule) for laid in some}


def _row(chain: str, rule: Rule) -> bytes:
    limit = rule.leaf("limit")
    cost = cost_of(limit) if limit else 0
    prefix = rule.leaf("log-prefix") or f"{chain}:{rule.id} "
    return ROW.pack(rule.identity, cost, cost * int(rule.leaf("limit-burst") or BURST), prefix.encode()[:31])


def cost_of(limit: str) -> int:
    """Nanoseconds from one packet to the next: '5/minute' is 12 seconds."""
    count, _, unit = limit.partition("/")
    return UNITS[unit] // int(count)
