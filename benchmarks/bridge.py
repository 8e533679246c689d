"""simplebridge and bridge against the Linux bridge.

One flow of 60-byte frames between two hosts that the bridge has learned, from the sender's netdev to the receiver's, on one CPU;
nothing is filtered (br_netfilter is off, but for a row of its own), no VLANs, no spanning tree. The receiver counts with a
program of the kind that suits what arrives: TC for what comes as a socket buffer, XDP for what XDP hands over.
"""

from __future__ import annotations

import contextlib

from benchmarks import linux
from benchmarks.bed import Bed
from benchmarks.compare import Effort, Goal, Table, Turn, compare

LINUX, FILTERED = "Linux bridge", "Linux bridge, br_netfilter on"


def cube(hook: str, service: str = "simplebridge") -> dict[str, object]:
    ports = [{"name": "a", "peer": "h1"}, {"name": "b", "peer": "h2"}]
    return {"name": "br", "service-name": service, "type": hook, "loglevel": "OFF", "ports": ports}


SERVICES, HOOKS = ("simplebridge", "bridge"), ("TC", "XDP_DRV")
CUBES = {f"{service}, {hook[:3]}": (service, hook) for service in SERVICES for hook in HOOKS}


def run(effort: Effort) -> list[Table]:
    packets = effort.amount(100_000)
    with contextlib.ExitStack() as stack:
        turns: dict[str, Turn] = {}
        for name, (service, hook) in CUBES.items():
            bed = stack.enter_context(Bed(["h1", "h2"]))
            bed.apply({"cubes": [cube(hook, service)]})
            turns[name] = _turn(stack, bed, "TC" if hook == "TC" else "XDP", packets)
        for name in (LINUX, FILTERED):
            bed = stack.enter_context(Bed(["h1", "h2"]))
            linux.bridge(bed)
            if name == FILTERED:
                bed.run("sysctl -qw net.bridge.bridge-nf-call-iptables=1")
            turns[name] = _turn(stack, bed, "TC", packets)
        goals = [Goal("simplebridge, TC", at_least=1.0), Goal("simplebridge, XDP", at_least=2.0)]
        goals += [Goal("bridge, TC", at_least=1.5), Goal("bridge, XDP", at_least=4.0)]
        return [compare("Bridging", turns, effort, against=LINUX, unit="ns a packet", goals=goals)]


def _turn(stack: contextlib.ExitStack, bed: Bed, into: str, packets: int) -> Turn:
    bed.say("h2")
    return stack.enter_context(bed.flow("h1", "h2", bed.udp("h1", "h2"), into=into)).turner(packets)
