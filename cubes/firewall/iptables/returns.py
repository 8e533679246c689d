"""A RETURN with a limit, followed by a verdict for the packets beyond it: the common idiom against floods in iptables.

    -A syn_flood -m limit --limit 25/sec -j RETURN
    -A syn_flood -j DROP

is converted to the inverse: packets over the limit are dropped, and the others return. If anything else follows, the limit
cannot be expressed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from cubes.firewall.iptables.address_box import EVERYTHING, Case
from cubes.firewall.iptables.rule import VERDICTS, Rule
from cubes.firewall.values import OVER


def without_limited_returns(rules: Sequence[Rule]) -> Iterator[Rule]:
    """The rules of a chain."""
    for place, rule in enumerate(rules):
        if rule.action != "RETURN" or rule.limit is None:
            yield rule
            continue
        following = rules[place + 1] if place + 1 < len(rules) else None
        if following is not None and _takes_the_rest(following, rule):
            rate, burst = rule.limit
            yield replace(rule, action=following.action, answer=following.answer, limit=(OVER + rate, burst))
            yield replace(rule, limit=None, notes=[])
        else:
            yield replace(
                rule, limit=None, unsaid=[*rule.unsaid, *rule.limited_by],
                cases=tuple(Case(case.box, sure=False) for case in rule.cases),
            )  # fmt: skip


def _takes_the_rest(following: Rule, rule: Rule) -> bool:
    """Whether all packets beyond the limit get this verdict."""
    if following.action not in VERDICTS or following.limit or following.unsaid or following.unless:
        return False
    same_ways = following.came_by in (None, rule.came_by) and following.leaves_by in (None, rule.leaves_by)
    everything = any(case.sure and case.box == EVERYTHING for case in following.cases)
    return same_ways and (everything or following.cases == rule.cases)
