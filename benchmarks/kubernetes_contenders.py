"""What makes a network of pods and services of the nodes of a bed: pcn-k8s, or the plugin `bridge` with kube-proxy's rules."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks import linux
from benchmarks.kubernetes_bed import OUTSIDE, PORTS, SERVER, Nodes, prefix_length, slot
from providers.kubernetes import host
from providers.kubernetes.cni.netdevs import BIG_TCP
from providers.kubernetes.document import gateway_mac, node_document
from providers.kubernetes.overlay import NETDEV
from providers.kubernetes.settings import Settings, mac, station
from providers.kubernetes.state import Attached, State
from reconciler.kernel import linkwrite, netns
from tests.providers.kubernetes import objects


class Pcn(Nodes):
    """The document of each node, applied as the agent applies it."""

    direct = False

    def mac(self, host: str) -> str:
        return super().mac(host) if host == OUTSIDE else station(self._families(self.node_of(host)))

    def gateway_mac(self, host: str) -> str:
        return self.near_mac(OUTSIDE) if host == OUTSIDE else gateway_mac(self._families(self.node_of(host)))

    def _families(self, node: int) -> dict[int, Any]:
        return {self.plan.version: self.plan.family(node)}

    def prepare(self) -> None:
        for node in range(self.layout.nodes):
            self._apply_at(node)
            for pod in self.pods_of(node):
                self._set_up(pod, node)

    def _apply_at(self, node: int) -> None:
        made = node_document(self._state(node), f"n{node + 1}", self._settings())
        with self.at(node):
            self.apply(dict(made.topology["spec"]))
            with netns.inside(self.middle):
                host.keep(made.routes, made.tunnels)

    def _settings(self) -> Settings:
        overlay = "vxlan" if self.layout.overlay else ""
        ranges, beside = (self.plan.services,), (self.plan.link,)
        more = {"overlay": overlay, "direct": self.direct}
        return Settings(slots=12, service_ranges=ranges, not_masqueraded=beside, mtu=self.mtu, **more)

    def _state(self, node: int) -> State:
        """The cluster as a node's provider knows it."""
        plan, numbers = self.plan, range(self.layout.nodes)
        nodes = [objects.node(f"n{each + 1}", (plan.pods[each],), plan.nodes[each]) for each in numbers]
        pods = [objects.pod(pod, f"n{each + 1}", ips=[self.address(pod)]) for each in numbers for pod in self.pods_of(each)]
        vips = plan.vips(self.services)
        services = [objects.service(f"s{at}", vip, ports=_ports(plan.vip == vip)) for at, vip in enumerate(vips)]
        slices = [self._slices(f"s{at}", measured=plan.vip == vip) for at, vip in enumerate(vips)]
        here = {("default", pod): Attached(slot(pod), (self.address(pod),)) for pod in self.pods_of(node)}
        spaces = [objects.namespace("default")]
        return State(*map(_named, (nodes, spaces, pods, services, slices)), attached=here)

    def _slices(self, name: str, *, measured: bool) -> dict[str, Any]:
        endpoint = objects.endpoint(self.address(SERVER), f"n{self.node_of(SERVER) + 1}")
        ports = [{"name": str(port), "port": target, "protocol": protocol} for port, target, protocol in _served(measured)]
        return {**objects.slices(name, 0, endpoint, family=f"IPv{self.plan.version}"), "ports": ports}

    def _set_up(self, pod: str, node: int) -> None:
        """A pod as the CNI plugin leaves it: alone on its link, with the gateway as a neighbour for good."""
        gateway = self.plan.gateway(node)
        for words in (f"neighbour replace {gateway} lladdr {self.gateway_mac(pod)} dev eth0 nud permanent",
                      f"route replace {gateway} dev eth0", f"route replace default via {gateway}",
                      f"route delete {self.plan.pods[node]} dev eth0"):  # fmt: skip
            self.run(f"ip -{self.plan.version} {words}", host=pod)


class Direct(Pcn):
    """With `--direct`."""

    direct = True


class BigTcp(Pcn):
    """With `--big-tcp`: as the CNI plugin makes pods' netdevs then."""

    def prepare(self) -> None:
        for node in range(self.layout.nodes):
            for pod in self.pods_of(node):
                for name, space in ((pod, self.spaces[node]), ("eth0", self.space(pod))):
                    with netns.inside(space):
                        linkwrite.set_link(name, segments=BIG_TCP)
        super().prepare()


class Bridge(Nodes):
    """As the plugin `bridge` (isGateway) wires pods, kube-proxy's rules, and routes of the host to the other node's pods, or a
    VXLAN netdev with stations that are known, as flannel has it."""

    def gateway_mac(self, host: str) -> str:
        return self.near_mac(OUTSIDE) if host == OUTSIDE else self.near_mac("cni0", self.node_of(host))

    def prepare(self) -> None:
        for node in range(self.layout.nodes):
            with self.at(node):
                self._prepare_here(node)

    def _prepare_here(self, node: int) -> None:
        plan = self.plan
        own, quick = f"{plan.gateway(node)}/{prefix_length(plan.pods[node])}", "nodad" if plan.version == 6 else ""
        self.run("ip link add cni0 type bridge", f"ip address add {own} dev cni0 {quick}", f"ip link set cni0 mtu {self.mtu} up")
        self.run(*(f"ip link set {pod} master cni0" for pod in self.pods_of(node)))
        self.run(*self._ways(node, 1 - node) if self.layout.nodes == 2 else ())
        endpoint = self.address(SERVER) if plan.version == 4 else f"[{self.address(SERVER)}]"
        served = [(vip, port, protocol.lower(), f"{endpoint}:{target}") for vip in plan.vips(self.services)
                  for port, target, protocol in _served(vip == plan.vip)]  # fmt: skip
        linux.kube_proxy(self, served, plan.version)

    def _ways(self, node: int, other: int) -> Iterator[str]:
        """To the other node's pods."""
        pods, far, near = self.plan.pods[other], self.plan.nodes[other], self.plan.nodes[node]
        if not self.layout.overlay:
            yield f"ip route add {pods} via {far}"
            return
        own, hop = (str(self.plan.family(each).pods[0]) for each in (node, other))
        mine, station = mac(ipaddress.ip_address(own)), mac(ipaddress.ip_address(hop))
        tunnel = f"type vxlan id 1 local {near} dstport 4789 nolearning"
        yield f"ip link add {NETDEV} address {mine} mtu {self.mtu} {tunnel}"
        yield f"ip link set {NETDEV} up"
        yield f"ip route add {pods} via {hop} dev {NETDEV} onlink"
        yield f"ip neighbour add {hop} lladdr {station} dev {NETDEV} nud permanent"
        yield f"bridge fdb add {station} dev {NETDEV} dst {far} self permanent"


def _served(measured: bool) -> Sequence[tuple[int, int, str]]:
    return tuple(PORTS.values()) if measured else (PORTS["requests"],)


def _ports(measured: bool) -> list[dict[str, Any]]:
    return [{"name": str(port), "port": port, "protocol": protocol} for port, _, protocol in _served(measured)]


def _named(items: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], Mapping[str, Any]]:
    return {(each["metadata"].get("namespace", ""), each["metadata"]["name"]): each for each in items}
