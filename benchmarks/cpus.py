"""One cube that two CPUs use at once: its throughput against that of one CPU.

Two pairs of hosts, each with a flow of 60-byte UDP packets and a CPU of its own; what they share is the cube, its tables and its
counters. Each round measures both flows alone, one after the other, and then at the same time; *times
one CPU* is how many packets both CPUs carried together for one that a CPU carries alone, so 2 is the most. Both threads have the
real-time scheduler's lowest priority for the milliseconds that a turn takes, so that they do run at the same time. Two CPUs of a
machine may share a core: *a bare redirect*, which shares nothing, and Linux's forwarding say what this one gives.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks import linux, programs, router
from benchmarks.bed import Bed, Flow
from benchmarks.compare import Effort, Row, Table

HOSTS = ("h1", "h2", "h3", "h4")
PAIRS = (("h1", "h2"), ("h3", "h4"))
BARE, LINUX = "a bare redirect, XDP", "Linux forwarding"
Prepare = Callable[[contextlib.ExitStack, Bed], None]


def run(effort: Effort) -> list[Table]:
    rounds, packets = min(effort.rounds, 15), effort.amount(20_000)
    with contextlib.ExitStack() as stack:
        pairs = {name: _pair(stack, name, *how) for name, how in CONTENDERS.items()}
        found: dict[str, list[float]] = {name: [] for name in pairs}
        for number in range(rounds + 1):
            for name, flows in pairs.items():
                times = _times(flows, packets)
                if number:  # one turn each is thrown away
                    found[name].append(times)
    rows = tuple(Row(name, tuple(turns)) for name, turns in found.items())
    return [Table("Two CPUs on one cube", "times one CPU", rows)]


def _pair(stack: contextlib.ExitStack, name: str, subnets: bool, prepare: Prepare) -> list[Flow]:
    bed = stack.enter_context(Bed(HOSTS, subnets=subnets))
    prepare(stack, bed)
    into = "XDP" if "XDP" in name else "TC"
    if not subnets:
        for host in HOSTS:
            bed.say(host)
    return [stack.enter_context(bed.flow(*pair, bed.udp(*pair), into=into)) for pair in PAIRS]


def _times(flows: list[Flow], packets: int) -> float:
    alone = [_together([flow], packets, [cpu])[0] for cpu, flow in enumerate(flows)]
    both = _together(flows, packets, [0, 1])
    return sum(one / other for one, other in zip(alone, both, strict=True))


def _together(flows: list[Flow], packets: int, places: list[int]) -> list[float]:
    """Nanoseconds of CPU a packet, of flows that begin at the same time."""
    found = [0.0] * len(flows)
    cpus, start = sorted(os.sched_getaffinity(0)), threading.Barrier(len(flows))

    def carry(number: int) -> None:
        os.sched_setaffinity(0, {cpus[places[number] % len(cpus)]})
        with at_once():
            start.wait()
            found[number] = flows[number].turn(packets)

    threads = [threading.Thread(target=carry, args=(number,)) for number in range(len(flows))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if not all(found):
        raise RuntimeError("a flow did not come through")
    return found


@contextlib.contextmanager
def at_once() -> Iterator[None]:
    """This thread runs whenever it can."""
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


# -- contenders -------------------------------------------------------------------------------------------------------


def _bare(stack: contextlib.ExitStack, bed: Bed) -> None:
    for source, target in (*PAIRS, *(pair[::-1] for pair in PAIRS)):
        text = "int run(struct xdp_md *ctx) { return bpf_redirect(OUT, 0); }"
        program = stack.enter_context(programs.written(text, "XDP", OUT=bed.index(target)))
        stack.enter_context(bed.attached(program, "XDP", source))


def _linux(_: contextlib.ExitStack, bed: Bed) -> None:
    linux.forwarding(bed)


def _bridge(service: str, hook: str) -> Prepare:
    def prepare(_: contextlib.ExitStack, bed: Bed) -> None:
        ports = [{"name": host, "peer": host} for host in HOSTS]
        bed.apply({"cubes": [{"name": "br", "service-name": service, "type": hook, "loglevel": "OFF", "ports": ports}]})

    return prepare


def _router(hook: str, guard: dict[str, object] | None = None, places: tuple[str, ...] = ("h1", "h3")) -> Prepare:
    """`guard`: one transparent cube, on the ports of these hosts."""

    def prepare(_: contextlib.ExitStack, bed: Bed) -> None:
        gateway: dict[str, Any] = router.cube(bed, hook)
        if guard is not None:
            for port in gateway["ports"]:
                port["tcubes"] = [guard["name"]] if port["name"] in places else []
        bed.apply({"cubes": [gateway, *([{"type": hook, "loglevel": "OFF", **guard}] if guard is not None else [])]})

    return prepare


RULES = [{"id": 0, "l4proto": "UDP", "conntrack": "NEW", "action": "ACCEPT"}]
FIREWALL = {"name": "fw", "service-name": "firewall", "chain": [{"name": "INGRESS", "default": "DROP", "rule": RULES}]}
SOURCES = [{"ip": f"198.18.0.{number}"} for number in range(1, 250)]
LISTED = {"name": "dd", "service-name": "ddosmitigator", "blacklist-src": SOURCES}
NAT = {"name": "nat1", "service-name": "nat", "rule": {"masquerade": {"enabled": True}}}
HOOKS = ("TC", "XDP_DRV")
CONTENDERS: dict[str, tuple[bool, Prepare]] = {
    BARE: (True, _bare),
    LINUX: (True, _linux),
    **{f"{service}, {hook[:3]}": (False, _bridge(service, hook)) for service in ("simplebridge", "bridge") for hook in HOOKS},
    **{f"router, {hook[:3]}": (True, _router(hook)) for hook in HOOKS},
    **{f"firewall on a router, {hook[:3]}": (True, _router(hook, FIREWALL)) for hook in HOOKS},
    **{f"ddosmitigator on a router, {hook[:3]}": (True, _router(hook, LISTED)) for hook in HOOKS},
    "nat on a router, TC": (True, _router("TC", NAT, ("h2", "h4"))),
}
