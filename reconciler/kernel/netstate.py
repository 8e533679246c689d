"""Netdevs, addresses and routes as read from the kernel: plain values that can be compared."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ARPHRD_ETHER, ARPHRD_LOOPBACK = 1, 772  # loopback packets have an Ethernet header too, of zeros
LINK_TYPES = {
    32: "INFINIBAND", 512: "PPP", 519: "RAWIP", 768: "TUNNEL", 769: "TUNNEL6", 776: "SIT", 778: "IPGRE", 823: "IP6GRE",
    ARPHRD_ETHER: "ETHER", ARPHRD_LOOPBACK: "LOOPBACK", 0xFFFE: "NONE",
}  # fmt: skip
"""Names of link types, ARPHRD_* of linux/if_arp.h, for messages."""


@dataclass(frozen=True, slots=True)
class XdpState:
    """The XDP program on a netdev. `mode` is drv (native), skb (generic), hw, or multi (more than one at once)."""

    program: int
    mode: str


@dataclass(frozen=True, slots=True)
class NetdevState:
    """One netdev. `kind` is '' for a device without one (hardware, lo).

    `peer_index` is the other end of a veth or the lower device of a vlan or macvlan, 0 if none, and is an index in the namespace
    `peer_netnsid` (see `rtnl.namespace_ids`), or in the same one if that is None. `options` are those of its kind, by the names
    of model.Link.options, except that `link` is an index. `link_type` is one of ARPHRD_*. `other_names` are altnames, which no
    other netdev can have. `carrier` is the link's physical state, which `running` follows with a delay; `losses` the number of
    carrier losses since the netdev's creation. `promiscuous`: whether user space set the flag; bridges and sniffers do not count.
    """

    name: str
    index: int
    kind: str
    mac: str
    mtu: int
    up: bool
    running: bool
    group: int
    alias: str
    peer_index: int
    peer_netnsid: int | None
    master: int
    netns: str | None
    xdp: XdpState | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    link_type: int = ARPHRD_ETHER
    other_names: tuple[str, ...] = ()
    carrier: bool = True
    losses: int = 0
    promiscuous: bool = False

    @property
    def carries_ethernet(self) -> bool:
        """Whether its packets begin with an Ethernet header. A tun device can have any link type, so its mode is considered
        too."""
        return self.link_type in (ARPHRD_ETHER, ARPHRD_LOOPBACK) and self.options.get("mode") != "tun"


@dataclass(frozen=True, slots=True)
class AddressState:
    """An address with its prefix length ('10.0.0.1/24') on the netdev `index`.

    `automatic` ones were not configured explicitly: link-local and loopback addresses, and those with a lifetime (DHCP, router
    advertisements).
    """

    index: int
    address: str
    automatic: bool


@dataclass(frozen=True, slots=True)
class RouteState:
    """A route of the main table. `to` is a prefix (0.0.0.0/0 and ::/0 for default ones), `index` its netdev, 0 if many.

    `automatic` ones are from a routing daemon, DHCP or router advertisements. The kernel's own are omitted.
    """

    index: int
    to: str
    via: str | None
    metric: int
    automatic: bool


@dataclass(frozen=True, slots=True)
class EndState:
    """A netdev with its addresses and routes, for comparison with a model.LinkEnd."""

    netdev: NetdevState
    addresses: tuple[AddressState, ...] = ()
    routes: tuple[RouteState, ...] = ()


@dataclass(frozen=True, slots=True)
class NetdevCounters:
    """A netdev's counters since its creation: packets, bytes, errors, drops. In the kernel's order."""

    rx_packets: int = 0
    tx_packets: int = 0
    rx_bytes: int = 0
    tx_bytes: int = 0
    rx_errors: int = 0
    tx_errors: int = 0
    rx_dropped: int = 0
    tx_dropped: int = 0
