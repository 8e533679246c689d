"""The fact `links`: the link states of the host's netdevs, by name: up, no-carrier or down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from reconciler import pins

NAME = "links"
UP, NO_CARRIER, DOWN = "up", "no-carrier", "down"


def of(states: Mapping[str, Any]) -> dict[str, str]:
    """`states`: netdevs by name (NetdevState of kernel/netstate.py)."""
    found = {name: UP if s.carrier else NO_CARRIER for name, s in sorted(states.items()) if s.up and not pins.is_hidden(name)}
    return found | {name: DOWN for name, s in sorted(states.items()) if not s.up and not pins.is_hidden(name)}


def with_own(facts: Mapping[str, Any], own: Iterable[str]) -> Mapping[str, Any]:
    """Netdevs that a topology creates count as up before they exist, so that rows are not written twice."""
    if NAME not in facts:
        return facts
    return {**facts, NAME: {**dict.fromkeys(own, UP), **facts[NAME]}}
