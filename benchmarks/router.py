"""router against Linux's forwarding.

One flow of 60-byte UDP packets between two hosts in two subnets, from the sender's netdev to the receiver's, on one CPU. Both
routers have two routes and know their neighbours for good; both take the TTL down and mend the checksum. Linux has no filter
loaded.
"""

from __future__ import annotations

import contextlib

from benchmarks import linux
from benchmarks.bed import Bed
from benchmarks.compare import Effort, Goal, Table, Turn, compare

LINUX = "Linux forwarding"


def cube(bed: Bed, hook: str) -> dict[str, object]:
    numbers = {host: bed.number(host) for host in bed.hosts}
    ports = [{"name": host, "peer": host, "ip": f"10.0.{n}.254/24", "mac": bed.gateway_mac(host)} for host, n in numbers.items()]
    known = [{"address": bed.address(host), "interface": host, "mac": bed.mac(host)} for host in bed.hosts]
    return {"name": "gw", "service-name": "router", "type": hook, "loglevel": "OFF", "ports": ports, "arp-table": known}


def run(effort: Effort) -> list[Table]:
    packets = effort.amount(100_000)
    with contextlib.ExitStack() as stack:
        beds = [stack.enter_context(Bed(["h1", "h2"], subnets=True)) for _ in range(3)]
        beds[0].apply({"cubes": [cube(beds[0], "TC")]})
        beds[1].apply({"cubes": [cube(beds[1], "XDP_DRV")]})
        linux.forwarding(beds[2])
        turns: dict[str, Turn] = {}
        for name, into, bed in zip(("router, TC", "router, XDP", LINUX), ("TC", "XDP", "TC"), beds, strict=True):
            flow = stack.enter_context(bed.flow("h1", "h2", bed.udp("h1", "h2"), into=into))
            turns[name] = flow.turner(packets)
        goals = [Goal("router, TC", at_least=1.0), Goal("router, XDP", at_least=2.0)]
        return [compare("Routing", turns, effort, against=LINUX, unit="ns a packet", goals=goals)]
