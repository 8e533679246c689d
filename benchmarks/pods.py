"""Pod to pod: cubes against a bridge, and a bridge with kube-proxy's rules.

Two namespaces with a veth each, as pods have. A simplebridge or a router between them, at TC, against Linux's bridge, alone and
with the iptables rules of 1,000 services and connection tracking, as a node with kube-proxy has them. *Packets*: 60-byte UDP of
one known flow, CPU time from netdev to netdev. *Requests*: one TCP connection, 64 bytes there and back (sockperf), everything on
one CPU, so most of a request is the two hosts' own stacks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from benchmarks import bridge, linux, rates, router
from benchmarks.bed import Bed
from benchmarks.compare import Effort, Goal, Table, Turn, compare

KUBE = "bridge with kube-proxy"
SERVICES = 1000


def _kube(bed: Bed) -> None:
    linux.bridge(bed)
    linux.kube_proxy(bed, SERVICES)


CONTENDERS: dict[str, tuple[bool, Callable[[Bed], object]]] = {  # whether pods have a subnet each; what is in the middle
    "simplebridge": (False, lambda bed: bed.apply({"cubes": [bridge.cube("TC")]})),
    "router": (True, lambda bed: bed.apply({"cubes": [router.cube(bed, "TC")]})),
    "bridge": (False, linux.bridge),
    KUBE: (False, _kube),
}


def run(effort: Effort) -> list[Table]:
    ours = ("simplebridge", "router")
    return [
        table("Packets", packets, effort, "ns a packet", [Goal(name, at_least=2.0) for name in ours]),
        table("Requests", requests, effort.at_most(9), "requests a second", [Goal(name, at_least=1.25) for name in ours]),
    ]


def table(title: str, turner: Callable[..., Turn], effort: Effort, unit: str, goals: list[Goal]) -> Table:
    turns = {}
    with contextlib.ExitStack() as stack:
        for name, (subnets, prepare) in CONTENDERS.items():
            bed = stack.enter_context(Bed(["h1", "h2"], subnets=subnets, gro=turner is packets))
            prepare(bed)
            turns[name] = turner(bed, effort, stack)
        return compare(title, turns, effort, against=KUBE, unit=unit, goals=goals)


def packets(bed: Bed, effort: Effort, stack: contextlib.ExitStack) -> Turn:
    """The flow has had an answer, so that it is an established connection to those who track them."""
    bed.say("h1", bed.udp("h1", "h2"))
    bed.say("h2", bed.udp("h2", "h1", ports=(2000, 1000)))
    flow = stack.enter_context(bed.flow("h1", "h2", bed.udp("h1", "h2"), into="TC"))
    return flow.turner(effort.amount(80_000))


def requests(bed: Bed, effort: Effort, _stack: contextlib.ExitStack) -> Turn:
    return rates.requester(bed, "h1", "h2", seconds=1)
