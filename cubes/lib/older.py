"""Whether a firewall that is inserted lets connections continue that are older than it. Pure.

Of an older TCP connection, the first packet seen is NEW if connections are picked up in the middle, and INVALID if not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SAYS_NOTHING_OF_WHICH = frozenset({"id", "name", "description", "action", "conntrack", "l4proto", "log-prefix", "reject-with"})

Leaves = Mapping[str, Any]


def accepts(chain: Leaves, state: str) -> bool:
    """Whether a chain accepts TCP packets of this state ('': not tracked): all of them, or some that a rule selects. A rule
    for packets with SYN matches connection starts only. A jump to another chain counts as accepting."""
    for rule in sorted(chain.get("rule", ()), key=lambda rule: int(rule["id"])):
        action = rule.get("action", "ACCEPT")
        if action in ("LOG", "RETURN") or not _is_asked(rule, state):
            continue
        if rule.keys() <= _SAYS_NOTHING_OF_WHICH:
            return action not in ("DROP", "REJECT")
        if action not in ("DROP", "REJECT"):
            return True
    return bool(chain.get("default", "ACCEPT") == "ACCEPT")


def _is_asked(rule: Leaves, state: str) -> bool:
    """Whether a rule can match TCP in its middle, of this state."""
    states, flags = rule.get("conntrack"), str(rule.get("tcpflags", "")).split(",")
    named = states.split(",") if isinstance(states, str) else states
    return rule.get("l4proto", "TCP") in ("TCP", 6) and (named is None or state in named) and "SYN" not in flags
