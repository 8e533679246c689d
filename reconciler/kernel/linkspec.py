"""The kernel's form of a desired netdev, and differences of an existing netdev from it. Pure; no system call.

`diff_end` alone defines the drift of a link end: only requested properties count. Link-local addresses, leases, and routes of a
routing daemon change by themselves and are ignored.
"""
from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from reconciler.errors import FeatureMissing
from reconciler.kernel.netstate import EndState, NetdevState
from reconciler.model import Link, LinkEnd, Route

VXLAN_PORT = 4789  # IANA's; Linux's own default, 8472, is older than the standard

_MISSING_KIND_HINTS = {
    "dummy": "CONFIG_DUMMY; a bridge without ports does the same here: kind: bridge",
    "vlan": "CONFIG_VLAN_8021Q; let a cube push and pop the tags instead",
}


@dataclass(frozen=True, slots=True)
class Change:
    """One difference of a link end. `before` None: to be added; `after` None: to be removed (addresses and routes only)."""

    field: Literal["up", "mtu", "mac", "address", "route"]
    before: bool | int | str | Route | None
    after: bool | int | str | Route | None

    def undo(self) -> Change:
        """The inverse change."""
        return Change(self.field, self.after, self.before)

    def __str__(self) -> str:
        if self.field in ("address", "route"):
            sign, value = ("+", self.after) if self.before is None else ("-", self.before)
            return f"{sign} {self.field} {words(value)}"
        return f"{self.field} {words(self.before)} -> {words(self.after)}"


def diff_end(wanted: LinkEnd, seen: EndState) -> list[Change]:
    """The changes from the netdev `seen` to `wanted`, in a feasible order.

    Unset `mtu` and `mac` are the kernel's choice and never differ. The kernel keeps no routes on a link that is down, so the
    routes of a desired end that is down are not compared.
    """
    changes: list[Change] = []
    if wanted.mtu is not None and wanted.mtu != seen.netdev.mtu:
        changes.append(Change("mtu", seen.netdev.mtu, wanted.mtu))
    if wanted.mac is not None and wanted.mac.lower() != seen.netdev.mac:
        changes.append(Change("mac", seen.netdev.mac, wanted.mac.lower()))
    if wanted.up != seen.netdev.up:
        changes.append(Change("up", seen.netdev.up, wanted.up))
    addresses = {canonical_address(address): None for address in wanted.addresses}
    changes += _set_diff("address", addresses, {state.address: state.automatic for state in seen.addresses})
    if wanted.up:
        routes = {canonical_route(route): None for route in wanted.routes}
        changes += _set_diff("route", routes, {Route(state.to, state.via): state.automatic for state in seen.routes})
    return changes


def told_changes(wanted: LinkEnd, old: LinkEnd, seen: EndState) -> list[Change]:
    """Changes of MAC and addresses from `old` to `wanted` that `seen` does not have yet; without routes."""
    changes: list[Change] = []
    if wanted.mac is not None and wanted.mac != old.mac and wanted.mac.lower() != seen.netdev.mac:
        changes.append(Change("mac", seen.netdev.mac, wanted.mac.lower()))
    addresses, before = ([canonical_address(each) for each in end.addresses] for end in (wanted, old))
    return changes + _told("address", addresses, before, [state.address for state in seen.addresses])


def told_routes(wanted: LinkEnd, old: LinkEnd, seen: EndState) -> list[Change]:
    routes, before = ([canonical_route(each) for each in end.routes] for end in (wanted, old))
    return _told("route", routes, before, [Route(state.to, state.via) for state in seen.routes])


def _told(name: Literal["address", "route"], wanted: Sequence[Any], old: Sequence[Any], there: Sequence[Any]) -> list[Change]:
    gone = [Change(name, each, None) for each in old if each not in wanted and each in there]
    return gone + [Change(name, None, each) for each in wanted if each not in old and each not in there]


def _set_diff(
    name: Literal["address", "route"], wanted: Mapping[Any, None], seen: Mapping[Any, bool],
) -> list[Change]:
    gone = [Change(name, value, None) for value, automatic in seen.items() if value not in wanted and not automatic]
    return gone + [Change(name, None, value) for value in wanted if value not in seen]


def differing_options(link: Link, seen: NetdevState, index_of: Callable[[str], int]) -> list[str]:
    """Names of the options ('kind' among them) in which a netdev differs from `link`, and which cannot change after its creation.

    `index_of` returns a lower device's index by name, 0 if there is none.
    """
    if seen.kind != link.kind:
        return ["kind"]
    wanted = dict(link.options)
    if link.kind == "vxlan":
        wanted.setdefault("dstport", VXLAN_PORT)
    if "link" in wanted:
        wanted["link"] = index_of(wanted["link"])
    for name in ("local", "remote"):
        if name in wanted:
            wanted[name] = _canonical_ip(wanted[name])
    return [name for name, value in wanted.items() if seen.options.get(name) != value]


def creation(end: LinkEnd, kind: str, options: Mapping[str, Any], lower: int) -> dict[str, Any]:
    """The arguments of pyroute2's `link("add", …)` for this netdev; `lower` is the index of options['link'] or 0."""
    arguments: dict[str, Any] = {"ifname": end.name, "kind": kind, **tuning(end)}
    if lower and kind in ("vlan", "macvlan"):
        arguments["link"] = lower
    if kind == "vlan":
        arguments["vlan_id"] = options["id"]
    if kind == "macvlan":
        arguments["macvlan_mode"] = options.get("mode", "bridge")
    if kind == "vxlan":
        arguments |= {"vxlan_id": options["id"], "vxlan_port": options.get("dstport", VXLAN_PORT)}
        arguments |= {"vxlan_link": lower} if lower else {}
        for name, attribute in (("local", "vxlan_local"), ("remote", "vxlan_group")):
            if name in options:
                arguments[attribute + ("6" if ":" in options[name] else "")] = options[name]
    return arguments


def tuning(end: LinkEnd) -> dict[str, Any]:
    """Arguments for the creation of a netdev of any kind."""
    return {name: value for name, value in (("mtu", end.mtu), ("address", end.mac)) if value is not None}


def kind_missing(kind: str) -> FeatureMissing:
    """The error for a kind of netdev that this kernel does not have."""
    hint = _MISSING_KIND_HINTS.get(kind, "")
    return FeatureMissing(f"this kernel has no netdevs of kind '{kind}'" + (f" ({hint})" if hint else ""))


def canonical_address(address: str) -> str:
    """'10.0.0.1' -> '10.0.0.1/32'; 'FD00::0:1/64' -> 'fd00::1/64'. Raises ValueError."""
    ip, _, length = address.partition("/")
    ip = _canonical_ip(ip)
    return f"{ip}/{int(length) if length else _bits(ip)}"


def canonical_route(route: Route) -> Route:
    """The same route as the kernel reports it: host bits cleared, 'default' as a prefix. Raises ValueError."""
    via = _canonical_ip(route.via) if route.via else None
    to = route.to
    if to == "default":
        to = "::/0" if via and ":" in via else "0.0.0.0/0"
    ip, _, length = canonical_address(to).partition("/")
    packed, bits = _packed(ip), _bits(ip)
    kept = int.from_bytes(packed, "big") >> (bits - int(length)) << (bits - int(length))
    family = socket.AF_INET if bits == 32 else socket.AF_INET6
    return Route(f"{socket.inet_ntop(family, kept.to_bytes(bits // 8, 'big'))}/{length}", via)


def _canonical_ip(ip: str) -> str:
    return socket.inet_ntop(socket.AF_INET6 if ":" in ip else socket.AF_INET, _packed(ip))


def _packed(ip: str) -> bytes:
    try:
        return socket.inet_pton(socket.AF_INET6 if ":" in ip else socket.AF_INET, ip)
    except OSError:
        raise ValueError(f"'{ip}' is not an IP address") from None


def _bits(ip: str) -> int:
    return 128 if ":" in ip else 32


def words(value: bool | int | str | Route | None) -> str:
    """A value of a Change, for messages."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Route):
        return value.to + (f" via {value.via}" if value.via else "")
    return str(value)
