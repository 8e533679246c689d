"""Netdevs, addresses and routes as plain values: what was read from the kernel, ready to be compared."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ARPHRD_ETHER, ARPHRD_LOOPBACK = 1, 772  # loopback packets have an Ethernet header too, of zeros
LINK_TYPES = {
    32: "INFINIBAND", 512: "PPP", 519: "RAWIP", 768: "TUNNEL", 769: "TUNNEL6", 776: "SIT", 778: "IPGRE", 823: "IP6GRE",
    ARPHRD_ETHER: "ETHER", ARPHRD_LOOPBACK: "LOOPBACK", 0xFFFE: "NONE",
}  # fmt: skip
"""Names of link types, ARPHRD_* of linux/if_arp.h, as far as messages want them."""


@dataclass(frozen=True, slots=True)
class XdpState:
    """The XDP program on a netdev. `mode` is drv (native), skb (generic), hw, or multi (more than one at once)."""

    program: int
    mode: str


@dataclass(frozen=True, slots=True)
class NetdevState:
    """One netdev as the kernel has it. `kind` is '' for a device without one (hardware, lo).

    `peer_index` is the other end of a veth or the lower device of a vlan or macvlan, 0 if none, and is an index of the
    namespace `peer_netnsid` (see `namespace_ids`), or of the same one if that is None. `options` are the kind's own, with
    the names of model.Link.options, except that `link` is an index. `link_type` is one of ARPHRD_*. `other_names` are altnames,
    which are taken too. `running` follows `carrier`, what is on the wire, a little later. `losses` is how many times
    the carrier was lost since the netdev was made. `promiscuous` is what was requested, and not what a bridge or a sniffer has
    done.
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
        """Whether packets on it begin with an Ethernet header. An owner can give a tun device any link type, so its mode
        decides too."""
        return self.link_type in (ARPHRD_ETHER, ARPHRD_LOOPBACK) and self.options.get("mode") != "tun"


@dataclass(frozen=True, slots=True)
class AddressState:
    """An address with its prefix length ('10.0.0.1/24') on the netdev `index`.

    `automatic` ones were not requested by anybody: link-local and loopback's ones, and those with a
    lifetime (DHCP, router advertisements).
    """

    index: int
    address: str
    automatic: bool


@dataclass(frozen=True, slots=True)
class RouteState:
    """A route of the main table. `to` is a prefix (0.0.0.0/0 and ::/0 for default ones), `index` its netdev, 0 if many.

    `automatic` ones belong to a routing daemon, DHCP or router advertisements. The kernel's own are not listed at all.
    """

    index: int
    to: str
    via: str | None
    metric: int
    automatic: bool


@dataclass(frozen=True, slots=True)
class EndState:
    """A netdev with its addresses and routes: what a model.LinkEnd is compared with."""

    netdev: NetdevState
    addresses: tuple[AddressState, ...] = ()
    routes: tuple[RouteState, ...] = ()


@dataclass(frozen=True, slots=True)
class NetdevCounters:
    """What a netdev has received and sent since it was created: packets, bytes, errors, drops. In the kernel's order."""

    rx_packets: int = 0
    tx_packets: int = 0
    rx_bytes: int = 0
    tx_bytes: int = 0
    rx_errors: int = 0
    tx_errors: int = 0
    rx_dropped: int = 0
    tx_dropped: int = 0
