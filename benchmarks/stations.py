"""simplebridge and bridge against the Linux bridge, with 1 to 100,000 stations.

60-byte frames go to as many stations as there are, in an order at random, from one host to another, on one CPU. Each bridge has
learned them by a frame from each. What floods would arrive at a third host, where none may: every frame goes to the one port.
Nothing ages meanwhile, and br_netfilter is off.
"""

from __future__ import annotations

import contextlib
import random

from benchmarks import linux, programs, routes
from benchmarks.bed import Bed, Flow
from benchmarks.bridge import LINUX
from benchmarks.compare import Effort, Goal, Table, Turn, compare
from reconciler.kernel import netns, rtnl

SIZES = (1, 10_000, 100_000)
CUBES = {f"{service}, {hook[:3]}": (service, hook) for service in ("simplebridge", "bridge") for hook in ("TC", "XDP_DRV")}
ROOM, LONG = 262_144, 1_000_000  # stations, seconds


def run(effort: Effort) -> list[Table]:
    return [table(size, effort) for size in SIZES]


def table(size: int, effort: Effort) -> Table:
    stations = random.Random(size).sample(range(0x020100000000, 0x0201FFFFFFFF), size)
    with contextlib.ExitStack() as stack:
        turns: dict[str, Turn] = {}
        for name, (service, hook) in CUBES.items():
            bed = stack.enter_context(Bed(["h1", "h2", "h3"]))
            bed.apply({"cubes": [cube(bed, service, hook)]})
            turns[name] = turn(stack, bed, "TC" if hook == "TC" else "XDP", stations, effort.amount(100_000))
        bed = stack.enter_context(Bed(["h1", "h2", "h3"]))
        linux.bridge(bed)
        bed.run(f"ip link set br0 type bridge ageing_time {100 * LONG}")
        turns[LINUX] = turn(stack, bed, "TC", stations, effort.amount(100_000))
        goals = [Goal("simplebridge, TC", at_least=1.25), Goal("simplebridge, XDP", at_least=2.0)]
        return compare(f"{size:,} stations", turns, effort, against=LINUX, unit="ns a packet", goals=goals)


def cube(bed: Bed, service: str, hook: str) -> dict[str, object]:
    ports = [{"name": host, "peer": host} for host in bed.hosts]
    made = {"name": "br", "service-name": service, "type": hook, "loglevel": "OFF", "ports": ports}
    return {**made, "fdb": {"max-stations": ROOM, "aging-time": LONG}}


def turn(stack: contextlib.ExitStack, bed: Bed, into: str, stations: list[int], packets: int) -> Turn:
    """The bridge learns them all, and then a turn sends to them."""
    bed.say("h1")
    with routes.flow(bed, into, stations, at=routes.FROM_STATION, ends=("h2", "h1")) as learning:
        learning.put(2 * len(stations) + 64)
    with netns.inside(bed.space("h3")):
        counter = programs.Counter(into, rtnl.links()["eth0"].index)
    stack.callback(counter.close)
    flow: Flow = stack.enter_context(routes.flow(bed, into, stations, at=routes.TO_STATION))
    before = counter.value()

    def measured() -> float:
        took = flow.turn(packets)
        if counter.value() - before > packets // 1000:
            raise RuntimeError(f"{counter.value() - before} frames were flooded")
        return took

    return measured
