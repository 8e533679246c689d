"""The overlay between nodes: a VXLAN netdev of the host, with static entries derived from each node's pod range.

Nothing is learned or resolved: the next hop of another node's pods is the first address of their range, its MAC address is
derived from it, and its tunnel endpoint is that node's address.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from providers.kubernetes.settings import Family, Settings, mac
from providers.kubernetes.state import State, node_addresses, pod_ranges

NETDEV = "pcn-vxlan"


class Tunnel(NamedTuple):
    """The route to another node's pods of one family: prefix, next hop, its MAC address, and the tunnel's endpoint."""

    pods: str
    hop: str
    mac: str
    node: str


def tunnels_of(state: State, node: str, families: Mapping[int, Family]) -> Iterator[Tunnel]:
    """To all other nodes, by their addresses of the family that this node's first address has."""
    mine = _underlay(state.nodes.get(("", node), {}))
    version = ipaddress.ip_address(mine).version if mine else 0
    for (_, name), other in sorted(state.nodes.items()):
        far = next((each for each in node_addresses(other) if ipaddress.ip_address(each).version == version), "")
        ranges = [ipaddress.ip_network(each) for each in pod_ranges(other)] if name != node and far else []
        for pods in ranges:
            if pods.version in families and pods != families[pods.version].pods:
                yield Tunnel(str(pods), str(pods[0]), mac(ranges[0][0]), far)


def overlay(
    state: State, node: str, families: Mapping[int, Family], settings: Settings, tunnels: Sequence[Tunnel]
) -> Iterator[dict[str, Any]]:
    """The netdev, with a route to each range by its first address."""
    local = _underlay(state.nodes.get(("", node), {}))
    if not settings.overlay or not local:
        return
    routes: list[dict[str, str]] = []
    for each in tunnels:
        routes += [{"to": f"{each.hop}/{_bits(each.hop)}"}, {"to": each.pods, "via": each.hop}]
    station = mac(families[min(families)].pods[0])
    own = {"id": settings.vxlan_id, "local": local}
    yield {"name": NETDEV, "kind": "vxlan", **own, "mac": station, "mtu": settings.mtu, "routes": routes}


def _underlay(node: Mapping[str, Any]) -> str:
    return next(iter(node_addresses(node)), "")


def _bits(address: str) -> int:
    return 128 if ":" in address else 32
