"""Kubernetes: a node of pcn-k8s against a bridge with kube-proxy.

A node with two pods, and a host behind its uplink. On one side the topology that pcn-k8s makes of the cluster; on the other what
the CNI plugin `bridge` makes, with the iptables rules of kube-proxy and connection tracking. *Packets*: 60-byte UDP of one known
flow, CPU time from netdev to netdev. *Requests*: one TCP connection, 64 bytes there and back (sockperf). *Throughput*: one TCP
connection with all offloads (iperf3). All on one CPU. From pod to pod, from a pod to a service (ClusterIP) among 1 and among
1,000, and from the host outside to a pod. A node has 1,000 services, but for "one service".
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import linux, rates
from benchmarks.bed import Bed
from benchmarks.compare import Effort, Goal, Table, Turn, compare
from providers.kubernetes.document import gateway_mac, node_document
from providers.kubernetes.settings import Settings, family_of, station
from providers.kubernetes.state import Attached, State
from reconciler.kernel import netlink, offload, rtnl
from reconciler.model import LinkEnd, Route
from tests.lib.netns_topology import run_in, settle
from tests.providers.kubernetes import objects

CLIENT, SERVER, OUTSIDE = "pod0", "pod1", "eth0"  # netdevs in the middle; the last one is the uplink
ADDRESSES = {CLIENT: "10.244.1.8", SERVER: "10.244.1.9", OUTSIDE: "172.30.0.100"}
PODS, NODE, GATEWAY = "10.244.1.0/24", "172.30.0.11", "10.244.1.1"
SETTINGS = Settings(slots=12, service_ranges=("10.96.0.0/16",), not_masqueraded=("172.30.0.0/24",))
VIP, MANY = "10.96.1.1", 1000
PORTS = {"packets": (53, 2000, "UDP"), "requests": (80, 8080, "TCP"), "throughput": (5201, 5201, "TCP")}  # a service's, a pod's
OURS, KUBE = "pcn-k8s", "bridge with kube-proxy"


class Node(Bed):
    """Pods and the host outside, wired as `prepare` has them."""

    def __init__(self, services: int, *, gro: bool) -> None:
        self.services = services
        super().__init__([CLIENT, SERVER, OUTSIDE], subnets=True, gro=gro)

    def address(self, host: str) -> str:
        return ADDRESSES[host]

    def _wire(self, host: str, _number: int) -> None:
        space = self.world.namespace(host)
        self.world.wire(host, "eth0", space, near_netns=self.middle, mac=self.mac(host))
        if self._gro:
            offload.put(host, "gro", True, self.middle)
        near = (f"{NODE}/24",) if host == OUTSIDE else ()
        far = LinkEnd("eth0", space, *self.far(host))
        netlink.configure(far)
        netlink.configure(LinkEnd(host, self.middle, near))
        settle((host, self.middle), ("eth0", space))

    def far(self, host: str) -> tuple[tuple[str, ...], tuple[Route, ...]]:
        """Addresses and routes of a host's end."""
        if host == OUTSIDE:
            return (f"{ADDRESSES[host]}/24",), (Route(PODS, NODE),)
        return (f"{ADDRESSES[host]}/24",), (Route("default", GATEWAY),)

    def prepare(self) -> None:
        raise NotImplementedError


class Pcn(Node):
    """The document of a node, applied as the agent applies it."""

    family = family_of(PODS, SETTINGS)

    def mac(self, host: str) -> str:
        return super().mac(host) if host == OUTSIDE else station({4: self.family})

    def gateway_mac(self, host: str) -> str:
        return rtnl.links(self.middle)[OUTSIDE].mac if host == OUTSIDE else gateway_mac({4: self.family})

    def prepare(self) -> None:
        pods_here = {("default", name): Attached(slot, (ADDRESSES[name],)) for slot, name in enumerate((CLIENT, SERVER))}
        own = [objects.service(f"s{number}", vip, ports=_ports(vip)) for number, vip in enumerate(_vips(self.services))]
        slices = [_slices(f"s{number}", vip) for number, vip in enumerate(_vips(self.services))]
        nodes = [objects.node("n1", (PODS,), NODE)]
        pods = [objects.pod(name, "n1", ips=[ADDRESSES[name]]) for name in (CLIENT, SERVER)]
        spaces = [objects.namespace("default")]
        found = State(
            _named(nodes), _named(spaces), _named(pods), _named(own), _named(slices), attached=pods_here
        )
        made = node_document(found, "n1", SETTINGS)
        self.run("sysctl -qw net.ipv4.ip_forward=1")
        self.apply(dict(made.topology["spec"]))
        for host in (CLIENT, SERVER):
            self.run(f"ip neighbour replace {GATEWAY} lladdr {self.gateway_mac(host)} dev eth0 nud permanent", host=host)
            self.run(f"ip route replace {GATEWAY} dev eth0", f"ip route replace default via {GATEWAY}", host=host)
            self.run(f"ip route delete {PODS} dev eth0", host=host)


class Bridge(Node):
    """As the plugin `bridge` (isGateway) wires pods, and kube-proxy's rules."""

    def gateway_mac(self, host: str) -> str:
        return rtnl.links(self.middle)[OUTSIDE if host == OUTSIDE else "cni0"].mac

    def prepare(self) -> None:
        self.run("ip link add cni0 type bridge", f"ip address add {GATEWAY}/24 dev cni0", "ip link set cni0 up")
        self.run(*(f"ip link set {host} master cni0" for host in (CLIENT, SERVER)), "sysctl -qw net.ipv4.ip_forward=1")
        served = [(vip, port, protocol.lower(), f"{ADDRESSES[SERVER]}:{target}") for vip in _vips(self.services)
                  for port, target, protocol in _served(vip)]  # fmt: skip
        linux.kube_proxy(self, served)


def _vips(services: int) -> list[str]:
    """The one that is measured is in the middle."""
    others = [f"10.96.{2 + number // 250}.{number % 250 + 1}" for number in range(services - 1)]
    return [*others[: services // 2], VIP, *others[services // 2 :]]


def _served(vip: str) -> Sequence[tuple[int, int, str]]:
    return tuple(PORTS.values()) if vip == VIP else (PORTS["requests"],)


def _ports(vip: str) -> list[dict[str, Any]]:
    return [{"name": str(port), "port": port, "protocol": protocol} for port, _, protocol in _served(vip)]


def _slices(name: str, vip: str) -> dict[str, Any]:
    found = objects.slices(name, 0, objects.endpoint(ADDRESSES[SERVER], "n1"))
    ports = [{"name": str(port), "port": target, "protocol": protocol} for port, target, protocol in _served(vip)]
    return {**found, "ports": ports}


def _named(items: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], Mapping[str, Any]]:
    return {(each["metadata"].get("namespace", ""), each["metadata"]["name"]): each for each in items}


# -- what is measured --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Way:
    """From whom, to which address; `services` is how many the node has."""

    name: str
    source: str
    to: str
    services: int = MANY

    def port(self, what: str) -> int:
        service, pod, _ = PORTS[what]
        return service if self.to == VIP else pod


WAYS = (
    Way("pod to pod", CLIENT, ADDRESSES[SERVER]),
    Way("pod to one service", CLIENT, VIP, 1),
    Way("pod to a service of 1,000", CLIENT, VIP),
    Way("outside to pod", OUTSIDE, ADDRESSES[SERVER]),
)


def packets(bed: Node, way: Way, effort: Effort, stack: contextlib.ExitStack) -> Turn:
    """Of a flow that was answered."""
    there = bed.udp(way.source, SERVER, ports=(1000, way.port("packets")), to=way.to, via=_via(bed, way))
    for _ in range(3):
        bed.say(way.source, there)
        bed.say(SERVER, bed.udp(SERVER, way.source, ports=(PORTS["packets"][1], 1000), via=_back(bed, way)))
    flow = stack.enter_context(bed.flow(way.source, SERVER, there, into="TC"))
    return flow.turner(effort.amount(80_000))


def _via(bed: Node, way: Way) -> str:
    """Pods on a bridge reach one another without the gateway."""
    return bed.mac(SERVER) if isinstance(bed, Bridge) and way.name == "pod to pod" else ""


def _back(bed: Node, way: Way) -> str:
    return bed.mac(CLIENT) if isinstance(bed, Bridge) and way.source == CLIENT else ""


def requests(bed: Node, way: Way, _effort: Effort, _stack: contextlib.ExitStack) -> Turn:
    return rates.requester(bed, way.source, SERVER, address=way.to, port=way.port("requests"))


def throughput(bed: Node, way: Way, _effort: Effort, _stack: contextlib.ExitStack) -> Turn:
    bed.world.spawn(bed.space(SERVER), ["iperf3", "-s"])

    def turn() -> float:
        said = json.loads(run_in(bed.space(way.source), ["iperf3", "-c", way.to, "-t", "1", "-J"], timeout=60, check=False))
        if "sum_received" not in said.get("end", {}):
            raise RuntimeError(f"iperf3: {said.get('error', said)}")
        return float(said["end"]["sum_received"]["bits_per_second"]) / 1e9

    return turn


def run(effort: Effort) -> list[Table]:
    found = []
    for title, turner, unit, goal, most in (("Packets", packets, "ns a packet", 2.0, effort.rounds),
                                            ("Requests", requests, "requests a second", 0.0, 7),
                                            ("Throughput", throughput, "Gbit/s", 1.2, 7)):  # fmt: skip
        found += [table(f"{title}, {way.name}", way, turner, effort.at_most(most), unit, goal) for way in WAYS]
    return found


def table(title: str, way: Way, turner: Callable[..., Turn], effort: Effort, unit: str, goal: float) -> Table:
    turns = {}
    with contextlib.ExitStack() as stack:
        for name, kind in ((OURS, Pcn), (KUBE, Bridge)):
            bed = stack.enter_context(kind(way.services, gro=turner is packets))
            bed.prepare()
            turns[name] = turner(bed, way, effort, stack)
        goals = [Goal(OURS, at_least=goal)] if goal and way.name != "outside to pod" else []
        return compare(title, turns, effort, against=KUBE, unit=unit, goals=goals)
