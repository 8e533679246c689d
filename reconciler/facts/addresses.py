"""The fact `addresses`: the host's own, by netdev, with their prefix lengths; a netdev without any is omitted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from reconciler import pins

NAME = "addresses"


def of(states: Mapping[str, Any], addresses: Iterable[Any]) -> dict[str, list[str]]:
    """`states`: netdevs by name; `addresses`: theirs (NetdevState and AddressState of kernel/netstate.py)."""
    names = {state.index: name for name, state in states.items() if not pins.is_hidden(name)}
    found: dict[str, list[str]] = {}
    for each in addresses:
        if each.index in names:
            found.setdefault(names[each.index], []).append(each.address)
    return {name: sorted(found[name]) for name in sorted(found)}
