"""simplebridge against the Linux bridge.

One flow of 60-byte frames between two hosts that the bridge has learned, from the sender's netdev to the receiver's, on one CPU;
nothing is filtered, no VLANs, no spanning tree. The receiver counts with a program of the kind that suits what arrives: TC for
what comes as a socket buffer, XDP for what XDP hands over.
"""

from __future__ import annotations

import contextlib

from benchmarks import linux
from benchmarks.bed import Bed
from benchmarks.compare import Effort, Goal, Table, Turn, compare

LINUX = "Linux bridge"


def cube(hook: str) -> dict[str, object]:
    ports = [{"name": "a", "peer": "h1"}, {"name": "b", "peer": "h2"}]
    return {"name": "br", "service-name": "simplebridge", "type": hook, "loglevel": "OFF", "ports": ports}


def run(effort: Effort) -> list[Table]:
    packets = effort.amount(100_000)
    with contextlib.ExitStack() as stack:
        beds = [stack.enter_context(Bed(["h1", "h2"])) for _ in range(3)]
        beds[0].apply({"cubes": [cube("TC")]})
        beds[1].apply({"cubes": [cube("XDP_DRV")]})
        linux.bridge(beds[2])
        turns: dict[str, Turn] = {}
        for name, into, bed in zip(("simplebridge, TC", "simplebridge, XDP", LINUX), ("TC", "XDP", "TC"), beds, strict=True):
            bed.say("h2")
            flow = stack.enter_context(bed.flow("h1", "h2", bed.udp("h1", "h2"), into=into))
            turns[name] = flow.turner(packets)
        goals = [Goal("simplebridge, TC", at_least=1.0), Goal("simplebridge, XDP", at_least=2.0)]
        return [compare("Bridging", turns, effort, against=LINUX, unit="ns a packet", goals=goals)]
