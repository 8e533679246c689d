"""Kubernetes: a node of pcn-k8s against a bridge with kube-proxy.

A node with two pods, and a host behind its uplink. On one side the topology that pcn-k8s makes of the cluster; on the other what
the CNI plugin `bridge` makes, with the iptables rules of kube-proxy and connection tracking. *Packets*: 60-byte UDP of one known
flow, CPU time from netdev to netdev. *Requests*: one TCP connection, 64 bytes there and back (sockperf). *Throughput*: one TCP
connection with all offloads (iperf3), with `--big-tcp` as well where both pods are on one node. All on one CPU. From pod to pod,
from a pod to a service (ClusterIP) among 1 and among 1,000, and from the host outside to a pod. A node has 1,000 services, but
for "one service".

*Two nodes* are on one wire with a pod each, by host routes to each other's pods (direct routing) or in VXLAN; the service's
endpoint is on the other node; with `--direct` as well. *IPv6* is one node, with packets of 70 bytes; sockperf knows no IPv6.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks import rates
from benchmarks.compare import Effort, Goal, Table, Turn, compare
from benchmarks.kubernetes_bed import CLIENT, IPV6, MANY, OUTSIDE, PORTS, SERVER, Layout, Nodes
from benchmarks.kubernetes_contenders import BigTcp, Bridge, Direct, Pcn
from tests.lib.netns_topology import run_in

OURS, BIG, DIRECT, KUBE = "pcn-k8s", "pcn-k8s --big-tcp", "pcn-k8s --direct", "bridge with kube-proxy"
ONE, SIX, TWO, TUNNEL, TWO_SIX = Layout(), Layout(IPV6), Layout(nodes=2), Layout(nodes=2, overlay=True), Layout(IPV6, nodes=2)


# -- what is measured --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Way:
    """From whom, to the server or to a service that it is the endpoint of; `services` is how many the nodes have."""

    name: str
    source: str
    to_service: bool = False
    services: int = MANY
    layout: Layout = ONE

    def port(self, what: str) -> int:
        service, pod, _ = PORTS[what]
        return service if self.to_service else pod

    def to(self, bed: Nodes) -> str:
        return bed.plan.vip if self.to_service else bed.address(SERVER)

    @property
    def on_bridge(self) -> bool:
        """Whether a bridge has both ends, which then reach one another without the gateway."""
        return self.source == CLIENT and self.layout.nodes == 1


WAYS = (
    Way("pod to pod", CLIENT),
    Way("pod to one service", CLIENT, to_service=True, services=1),
    Way("pod to a service of 1,000", CLIENT, to_service=True),
    Way("outside to pod", OUTSIDE),
)
MORE_WAYS = (
    Way("two nodes, pod to pod", CLIENT, layout=TWO),
    Way("two nodes, pod to a service of 1,000", CLIENT, to_service=True, layout=TWO),
    Way("two nodes in VXLAN, pod to pod", CLIENT, layout=TUNNEL),
    Way("two nodes in IPv6, pod to pod", CLIENT, layout=TWO_SIX),
    Way("IPv6, pod to pod", CLIENT, layout=SIX),
    Way("IPv6, pod to a service of 1,000", CLIENT, to_service=True, layout=SIX),
)


def packets(bed: Nodes, way: Way, effort: Effort, stack: contextlib.ExitStack) -> Turn:
    """Of a flow that was answered."""
    straight = isinstance(bed, Bridge) and way.on_bridge
    via = bed.mac(SERVER) if straight and not way.to_service else ""
    there = bed.packet(way.source, SERVER, (1000, way.port("packets")), to=way.to(bed), via=via)
    back = bed.packet(SERVER, way.source, (PORTS["packets"][1], 1000), via=bed.mac(CLIENT) if straight else "")
    for _ in range(3):
        bed.say(way.source, there)
        bed.say(SERVER, back)
    flow = stack.enter_context(bed.flow(way.source, SERVER, there, into="TC"))
    return flow.turner(effort.amount(80_000))


def requests(bed: Nodes, way: Way, _effort: Effort, _stack: contextlib.ExitStack) -> Turn:
    return rates.requester(bed, way.source, SERVER, address=way.to(bed), port=way.port("requests"))


def throughput(bed: Nodes, way: Way, _effort: Effort, _stack: contextlib.ExitStack) -> Turn:
    bed.world.spawn(bed.space(SERVER), ["iperf3", "-s"])

    def turn() -> float:
        said = json.loads(run_in(bed.space(way.source), ["iperf3", "-c", way.to(bed), "-t", "1", "-J"], timeout=60, check=False))
        if "sum_received" not in said.get("end", {}):
            raise RuntimeError(f"iperf3: {said.get('error', said)}")
        return float(said["end"]["sum_received"]["bits_per_second"]) / 1e9

    return turn


def run(effort: Effort) -> list[Table]:
    found = []
    for title, turner, unit, goal, most in (("Packets", packets, "ns a packet", 2.0, effort.rounds),
                                            ("Requests", requests, "requests a second", 0.0, 7),
                                            ("Throughput", throughput, "Gbit/s", 1.2, 7)):  # fmt: skip
        ways = [way for way in (*WAYS, *MORE_WAYS) if turner is not requests or way.layout.addresses is not IPV6]
        found += [table(f"{title}, {way.name}", way, turner, effort.at_most(most), unit, goal) for way in ways]
    return found


def table(title: str, way: Way, turner: Callable[..., Turn], effort: Effort, unit: str, goal: float) -> Table:
    turns = {}
    more: dict[str, type[Pcn]] = {BIG: BigTcp} if turner is throughput and way.on_bridge else {}
    if way.layout.nodes == 2:
        more = {DIRECT: Direct}
    with contextlib.ExitStack() as stack:
        for name, kind in {OURS: Pcn, **more, KUBE: Bridge}.items():
            bed = stack.enter_context(kind(way.layout, way.services, gro=turner is packets))
            bed.prepare()
            turns[name] = turner(bed, way, effort, stack)
        goals = [Goal(name, at_least=goal) for name in (OURS, *more) if goal and way.source == CLIENT]
        return compare(title, turns, effort, against=KUBE, unit=unit, goals=goals)
