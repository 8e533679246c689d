"""An operator's settings, and what is derived from them: names of netdevs and the addresses between gateway and host."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
FIRST_SLOT = 8  # addresses of a pod range before the first pod's: network, gateway, node, inward, hairpin, and three spare ones
SOURCE = "kubernetes"  # the name of this source of documents at the agent
OVERHEAD = 70  # bytes that VXLAN adds at most: between IPv6 addresses; 20 fewer between those of IPv4


@dataclass(frozen=True, slots=True)
class Settings:
    """`services` is 'all', or 'none' where kube-proxy serves them. `service_ranges` are the cluster's; `not_masqueraded` are
    prefixes that pods reach with their own address. `transit` and `transit6` are for the links between gateway and host, and
    local to this node. `slots`: maximum number of pods. `mtu`: of pods. `overlay`: 'vxlan' where the network between nodes does
    not route pods' addresses, '' where pods of another node are reached by a route to its address.
    `log_refused`: log packets that policies refuse. `big_tcp`: pods' TCP segments may exceed 64 KiB (BIG TCP).
    `best_effort`: an unknown pod that is added while the API server is unreachable is treated as one without labels until the
    server returns. `mtu_follows`: the MTU changes with the uplink's.
    `direct`: between nodes packets bypass the host's stack, and so its firewall."""

    topology: str = "kubernetes-node"
    uplink: str = "eth0"
    services: str = "all"
    service_ranges: tuple[str, ...] = ("10.96.0.0/12",)
    not_masqueraded: tuple[str, ...] = ()
    transit: str = "100.126.112.0/27"
    transit6: str = "fd70:636e::/123"
    slots: int = 110
    mtu: int = 1500
    overlay: str = ""
    vxlan_id: int = 1
    log_refused: bool = False
    big_tcp: bool = False
    best_effort: bool = False
    mtu_follows: bool = False
    direct: bool = False


class Side(NamedTuple):
    """A link between gateway and host: the gateway's end, the host's end, and an address that is routed to the gateway's."""

    gateway: Address
    host: Address
    virtual: Address
    prefix: int


@dataclass(frozen=True, slots=True)
class Family:
    """The addresses of one family on a node. `up`: the link to peers that route pods' addresses, with a virtual address for
    clients that keep their own; `out`: the link to everything else; `services`: the link for the host's packets to services, with
    a virtual address for clients whose address is translated. `masked`: pods' address between gateway and host, outbound."""

    pods: Network
    up: Side
    out: Side
    services: Side
    masked: Address

    @property
    def version(self) -> int:
        return self.pods.version

    @property
    def gateway(self) -> Address:
        """The gateway's address among the pods."""
        return self.pods[1]

    @property
    def node(self) -> Address:
        """The address that pods see for the host, and for outside clients whose address is translated."""
        return self.pods[2]

    @property
    def inward(self) -> Address:
        """A virtual next hop: packets to it reach a balancer in front of pods, which selects the pod."""
        return self.pods[3]

    @property
    def hairpin(self) -> Address:
        """The source address with which a pod reaches itself through a service."""
        return self.pods[4]

    def slot(self, number: int) -> Address:
        return self.pods[FIRST_SLOT + number]


def family_of(pods: str, settings: Settings) -> Family:
    """Raises ValueError if the range is too small for a gateway and one pod."""
    network = ipaddress.ip_network(pods)
    if network.num_addresses <= FIRST_SLOT + 1:
        raise ValueError(f"the pod range {pods} has no room for pods")
    transit: Network = ipaddress.ip_network(settings.transit if network.version == 4 else settings.transit6)
    up, out, services = (_side(transit, start) for start in (0, 8, 16))
    return Family(network, up, out, services, transit[24])


def _side(transit: Network, start: int) -> Side:
    length = 29 if transit.version == 4 else 125
    return Side(transit[start + 1], transit[start + 2], transit[start + 3], length)


def slots_of(family: Family, settings: Settings) -> int:
    """How many pods fit in a range, `settings.slots` at most. The last address, IPv4's broadcast address, is not used."""
    return min(settings.slots, family.pods.num_addresses - FIRST_SLOT - 1)


def netdev(slot: int) -> str:
    """The name of the host's end of a pod's veth, which exists exactly while the slot is allocated."""
    return f"pod{slot}"


def slot_of(name: str) -> int | None:
    """The slot of a netdev with such a name; None for any other."""
    digits = name.removeprefix("pod")
    is_number = name.startswith("pod") and digits.isascii() and digits.isdigit() and str(int(digits)) == digits
    return int(digits) if is_number else None


def station(families: Mapping[int, Family]) -> str:
    """The MAC address of every pod: each is alone on its link, and packets are forwarded by IP address."""
    return mac(families[min(families)].inward)


def mac(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """A locally administered MAC address, derived from an IP address."""
    return ":".join(f"{byte:02x}" for byte in b"\x02\x00" + address.packed[-4:])
