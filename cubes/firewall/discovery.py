"""Chains that accept IPv6 but not neighbour discovery: with default DROP no MAC address is ever resolved, and nothing passes.

A node requests a MAC address by a neighbour solicitation (ICMPv6 type 135) and is answered by an advertisement (136). If the
chain is an edit of the previous one, only added and removed rules are examined.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from cubes.firewall.rules import ACTIONS, PROTOCOLS, Rule
from cubes.firewall.values import STATES
from reconciler.service.sdk import unchanged

_NAMES = {135: "neighbour solicitations (ICMPv6 type 135)", 136: "neighbour advertisements (ICMPv6 type 136)"}
_IPV6 = 6  # counted under it: rules that accept from or to IPv6 addresses, and more than ICMPv6


@dataclass(slots=True)
class Discovery:
    """The rules of one chain when they were last examined. `counts`: how many rules accept each kind."""

    rules: Sequence[Rule] = ()
    counts: Counter[int] = field(default_factory=Counter)

    def lacking(self, rules: Sequence[Rule]) -> list[str]:
        """What no rule accepts that the IPv6 which others accept cannot do without."""
        start, rest = unchanged(self.rules, rules)
        self.counts.subtract(_accepted(self.rules[start : len(self.rules) - rest]))
        self.counts.update(_accepted(rules[start : len(rules) - rest]))
        self.rules = rules
        return [name for kind, name in _NAMES.items() if not self.counts[kind]] if self.counts[_IPV6] else []


def _accepted(rules: Sequence[Rule]) -> Iterator[int]:
    accept, icmp = ACTIONS["ACCEPT"], PROTOCOLS["ICMPV6"]
    for rule in rules:
        if rule.action != accept or 6 not in rule.families:
            continue
        if rule.proto != icmp and (4 not in rule.families or not {"src", "dst"}.isdisjoint(dict(rule.texts))):
            yield _IPV6
        if rule.proto in (None, icmp) and (not rule.states or rule.states & STATES["NEW"]):
            yield from _messages(rule)


def _messages(rule: Rule) -> Iterable[int]:
    """The message types, of the two, that a rule is assumed to accept. Solicitations are sent to multicast groups, so a rule
    with a destination counts only if it is about ICMPv6, and so presumably intended for them."""
    if rule.proto is None:
        return () if rule.dst or rule.dst_set or "dst" in dict(rule.texts) else _NAMES
    return _NAMES if rule.sport is None else [kind for kind in _NAMES if rule.sport[0] <= kind <= rule.sport[1]]
