"""One node with two pods and a host behind its uplink, or two nodes on one wire with a pod each, in IPv4 or IPv6.

    pod0 ─ node 1 ─ pod1          pod0 ─ node 1 ═ eth0 ═ node 2 ─ pod1
             └─ eth0 ─ outside

What the nodes do with it is for contenders (kubernetes_contenders.py).
"""

from __future__ import annotations

import contextlib
import ipaddress
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

from benchmarks.bed import Bed
from providers.kubernetes.settings import OVERHEAD, Family, Settings, family_of
from reconciler.kernel import netlink, offload, rtnl
from reconciler.model import LinkEnd, Route
from tests.lib.netns_topology import run_in, settle

CLIENT, SERVER, OUTSIDE = "pod0", "pod1", "eth0"  # netdevs of nodes; the last one is the uplink, and who is behind it
MANY = 1000  # services of a node
PORTS = {"packets": (53, 2000, "UDP"), "requests": (80, 8080, "TCP"), "throughput": (5201, 5201, "TCP")}  # a service's, a pod's
_UDP = 17


@dataclass(frozen=True)
class Addresses:
    """Of one family: each node's range for pods and its own address on their link, the host's outside, the service's that is
    measured, the range of services, and what the addresses of the others are made with."""

    version: int
    pods: tuple[str, str]
    nodes: tuple[str, str]
    link: str
    outside: str
    vip: str
    services: str
    other_vip: str

    def family(self, node: int) -> Family:
        return family_of(self.pods[node], Settings())

    def pod(self, node: int, number: int) -> str:
        return str(self.family(node).slot(number))

    def gateway(self, node: int) -> str:
        return str(self.family(node).gateway)

    def vips(self, count: int) -> list[str]:
        """The one that is measured is in the middle."""
        others = [self.other_vip.format(2 + number // 250, number % 250 + 1) for number in range(count - 1)]
        return [*others[: count // 2], self.vip, *others[count // 2 :]]


IPV4 = Addresses(4, ("10.244.1.0/24", "10.244.2.0/24"), ("172.30.0.11", "172.30.0.12"), "172.30.0.0/24", "172.30.0.100",
                 "10.96.1.1", "10.96.0.0/16", "10.96.{}.{}")  # fmt: skip
IPV6 = Addresses(6, ("fd00:244:0:1::/64", "fd00:244:0:2::/64"), ("fd00:30::11", "fd00:30::12"), "fd00:30::/64", "fd00:30::100",
                 "fd00:96::1:1", "fd00:96::/108", "fd00:96::{:x}:{:x}")  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """`overlay`: pods' packets travel between the nodes in VXLAN."""

    addresses: Addresses = IPV4
    nodes: int = 1
    overlay: bool = False


class Nodes(Bed):
    """Pods and the host outside, wired as `prepare` has them. Node 1 is the bed's middle."""

    def __init__(self, layout: Layout, services: int, *, gro: bool) -> None:
        self.layout, self.plan, self.services = layout, layout.addresses, services
        super().__init__([CLIENT, SERVER, *([OUTSIDE] if layout.nodes == 1 else [])], subnets=True, gro=gro)

    @property
    def mtu(self) -> int:
        """Of pods."""
        return 1500 - (OVERHEAD if self.layout.overlay else 0)

    def node_of(self, host: str) -> int:
        return 1 if host == SERVER and self.layout.nodes == 2 else 0

    def pods_of(self, node: int) -> list[str]:
        return [host for host in (CLIENT, SERVER) if self.node_of(host) == node]

    def address(self, host: str) -> str:
        return self.plan.outside if host == OUTSIDE else self.plan.pod(self.node_of(host), slot(host))

    def prepare(self) -> None:
        raise NotImplementedError

    # -- wires ----------------------------------------------------------------------------------------------------

    def _wire(self, host: str, number: int) -> None:
        if number == 1:
            self._make_nodes()
        space, near = self.world.namespace(host), self.spaces[self.node_of(host)]
        self._open(space)
        self.world.wire(host, "eth0", space, near_netns=near, mac=self.mac(host), mtu=self.mtu)
        if self._gro:
            offload.put(host, "gro", True, near)
        plan = self.plan
        if host == OUTSIDE:
            length, own, route = prefix_length(plan.link), (plan.nodes[0],), Route(plan.pods[0], plan.nodes[0])
        else:
            length, own, route = prefix_length(plan.pods[0]), (), Route("default", plan.gateway(self.node_of(host)))
        netlink.configure(LinkEnd("eth0", space, (f"{self.address(host)}/{length}",), (route,)))
        netlink.configure(LinkEnd(host, near, tuple(f"{each}/{length}" for each in own)))
        settle((host, near), ("eth0", space))

    def _make_nodes(self) -> None:
        self.spaces, self.roots = [self.middle], [self.options.root, f"{self.options.root}-2"]
        self._open(self.middle)
        if self.layout.nodes == 1:
            return
        self.spaces.append(self.world.namespace("n2"))
        self._open(self.spaces[1])
        self.world.wire("eth0", "eth0", self.spaces[1], near_netns=self.middle)
        for space, address in zip(self.spaces, self.plan.nodes, strict=True):
            netlink.configure(LinkEnd("eth0", space, (f"{address}/{prefix_length(self.plan.link)}",)))
        settle(("eth0", self.spaces[0]), ("eth0", self.spaces[1]))

    def _open(self, space: str) -> None:
        """Let a namespace forward, and speak IPv6 if that is measured, without asking first whether an address is another's."""
        keys = ["net.ipv4.ip_forward=1"]
        if self.plan.version == 6:
            keys += [f"net.ipv6.conf.{scope}.{key}" for scope in ("all", "default", "lo")
                     for key in ("disable_ipv6=0", "accept_dad=0", "router_solicitations=0")]  # fmt: skip
            keys.append("net.ipv6.conf.all.forwarding=1")
        for key in keys:
            run_in(space, ["sysctl", "-qew", key])

    @contextlib.contextmanager
    def at(self, node: int) -> Iterator[None]:
        """A node as the bed's middle."""
        before = self.middle, self.options
        self.middle, self.options = self.spaces[node], replace(self.options, root=self.roots[node])
        try:
            yield
        finally:
            self.middle, self.options = before

    def _delete(self) -> None:
        for node in range(self.layout.nodes):
            with self.at(node):
                super()._delete()

    # -- packets ----------------------------------------------------------------------------------------------------

    def near_mac(self, name: str, node: int = 0) -> str:
        """Of a netdev of a node."""
        return rtnl.links(self.spaces[node])[name].mac

    def packet(self, source: str, target: str, ports: tuple[int, int], *, to: str = "", via: str = "") -> bytes:
        """A frame of UDP without much in it, as in `udp`: 60 bytes in IPv4, 70 in IPv6, where UDP has a checksum."""
        if self.plan.version == 4:
            return self.udp(source, target, ports=ports, to=to, via=via)
        addresses = b"".join(ipaddress.ip_address(each).packed for each in (self.address(source), to or self.address(target)))
        data = bytes(8)
        length = 8 + len(data)
        words = struct.unpack("!24H", addresses + struct.pack("!IIHHH", length, _UDP, *ports, length) + bytes(2))
        total = sum(words)
        total = (total & 0xFFFF) + (total >> 16)
        head = struct.pack("!HHHH", *ports, length, ~(total + (total >> 16)) & 0xFFFF)
        ends = bytes.fromhex(((via or self.gateway_mac(source)) + self.mac(source)).replace(":", ""))
        return ends + b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, length, _UDP, 64) + addresses + head + data


def slot(pod: str) -> int:
    """The one that its netdev stands for, on whichever node."""
    return (CLIENT, SERVER).index(pod)


def prefix_length(prefix: str) -> int:
    return ipaddress.ip_network(prefix).prefixlen
