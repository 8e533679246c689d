"""The host's own configuration of its netdevs: addresses, the default route, a bridge or bond as their master. Pure.

Used before a cube attaches to a netdev, to warn of what would be cut off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_interface
from typing import Any

DEFAULT = ("0.0.0.0/0", "::/0")
_ABOVE = ("vlan", "macvlan", "macvtap", "ipvlan")  # kinds of netdev on top of a lower one, their `peer_index`


@dataclass(frozen=True, slots=True)
class OwnNetdev:
    """Of a netdev, and VLANs and the like on it: their `addresses`, the first `master`, '' if none, and whether a `default`
    route uses one of them."""

    addresses: tuple[str, ...] = ()
    master: str = ""
    default: bool = False

    def __str__(self) -> str:
        said = [f"has {', '.join(self.addresses)}"] if self.addresses else []
        said += [f"is part of {self.master}"] if self.master else []
        said += ["has the default route"] if self.default else []
        return " and ".join(said)


def of(names: Iterable[str], states: Mapping[str, Any], addresses: Iterable[Any], routes: Iterable[Any]) -> dict[str, OwnNetdev]:
    """Those of `names` with an address, a master or a default route. `states`: netdevs by name; with `addresses` and `routes` of
    kernel/netstate.py. Link-local IPv6 addresses, which every netdev has, do not count."""
    at: dict[int, list[str]] = {}
    for each in addresses:
        ip = ip_interface(each.address)
        if not (ip.version == 6 and ip.is_link_local):
            at.setdefault(each.index, []).append(each.address)
    ways = {route.index for route in routes if route.to in DEFAULT}
    masters = {state.index: name for name, state in states.items()}
    found = {}
    for name in names:
        if (state := states.get(name)) is None:
            continue
        group = [state, *_above(state, states)]
        held = tuple(sorted({address for each in group for address in at.get(each.index, ())}))
        parts = (_part(each, state, masters) for each in group)
        own = OwnNetdev(held, next(filter(None, parts), ""), any(each.index in ways for each in group))
        if own != OwnNetdev():
            found[name] = own
    return found


def routes_of(names: Iterable[str], states: Mapping[str, Any], read: Callable[[None, int], Iterable[Any]]) -> list[Any]:
    """The routes via these netdevs and those on top of them, read by netdev: a router has many others."""
    lower = [states[name] for name in names if name in states]
    indices = {each.index for state in lower for each in (state, *_above(state, states))}
    return [route for index in sorted(indices) for route in read(None, index)]


def _above(lower: Any, states: Mapping[str, Any]) -> Iterator[Any]:
    """The netdevs on top of a netdev, recursively: the kernel allows eight levels."""
    for state in states.values():
        if state.kind in _ABOVE and state.peer_index == lower.index and state.peer_netnsid is None:
            yield state
            yield from _above(state, states)


def _part(each: Any, lower: Any, masters: Mapping[int, str]) -> str:
    master = masters.get(each.master, "")
    return f"{master} with {each.name}" if master and each is not lower else master
