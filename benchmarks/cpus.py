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
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks import linux, programs, router
from benchmarks.bed import Bed, Flow
from benchmarks.compare import Effort, Row, Table
from benchmarks.flows import counting
from benchmarks.two_cpus import carry
from reconciler.kernel import netns, rtnl

HOSTS = ("h1", "h2", "h3", "h4")
PAIRS = (("h1", "h2"), ("h3", "h4"))
BARE, LINUX = "a bare redirect, XDP", "Linux forwarding"
Prepare = Callable[[contextlib.ExitStack, Bed], None]


@dataclass(frozen=True)
class Contender:
    """`pairs`: who sends to whom; where two have a netdev in common, it has a queue for each CPU. `to`: the address that is asked
    for, if it is not the target's own."""

    prepare: Prepare
    subnets: bool = True
    pairs: tuple[tuple[str, str], ...] = PAIRS
    to: str = ""


def run(effort: Effort) -> list[Table]:
    rounds, packets = min(effort.rounds, 15), effort.amount(20_000)
    with contextlib.ExitStack() as stack:
        pairs = {name: _pair(stack, name, how) for name, how in CONTENDERS.items()}
        found: dict[str, list[float]] = {name: [] for name in pairs}
        for number in range(rounds + 1):
            for name, flows in pairs.items():
                times = _times(flows, packets)
                if number:  # one turn each is thrown away
                    found[name].append(times)
    rows = tuple(Row(name, tuple(turns)) for name, turns in found.items())
    return [Table("Two CPUs on one cube", "times one CPU", rows)]


def _pair(stack: contextlib.ExitStack, name: str, how: Contender) -> list[Flow]:
    bed = stack.enter_context(Bed(HOSTS, subnets=how.subnets))
    if how.pairs is not PAIRS:
        bed.on_all_cpus()
    how.prepare(stack, bed)
    if not how.subnets:
        for host in HOSTS:
            bed.say(host)
    into = "XDP" if "XDP" in name else "TC"
    counters = {target: stack.enter_context(counting(bed, target, into)) for target in {target for _, target in how.pairs}}
    flows = []
    for number, (source, target) in enumerate(how.pairs):
        frame = bed.udp(source, target, ports=(1000 + number, 2000), to=how.to)
        with netns.inside(bed.space(source)):
            program = programs.generator(frame, out=rtnl.links()["eth0"].index)
        stack.callback(os.close, program)
        flows.append(Flow(bed.space(source), program, frame, counters[target]))
    return flows


def _times(flows: list[Flow], packets: int) -> float:
    alone = [carry([flow], packets, [cpu])[0] for cpu, flow in enumerate(flows)]
    both = carry(flows, packets, [0, 1])
    return sum(one / other for one, other in zip(alone, both, strict=True))


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
VIP = "10.97.0.10"


def _pbforwarder(hook: str) -> Prepare:
    def prepare(_: contextlib.ExitStack, bed: Bed) -> None:
        forward = [{"in_port": source, "action": "FORWARD", "out_port": target} for source, target in PAIRS]
        cube: dict[str, Any] = {"name": "pbf", "service-name": "pbforwarder", "type": hook, "loglevel": "OFF"}
        cube |= {"ports": [{"name": host, "peer": host} for host in HOSTS]}
        bed.apply({"cubes": [cube | {"rules": [{"id": number, **rule} for number, rule in enumerate(forward)]}]})

    return prepare


def _iptables(hook: str) -> Prepare:
    def prepare(_: contextlib.ExitStack, bed: Bed) -> None:
        linux.forwarding(bed)
        rules = [{"id": 0, "conntrack": "NEW,ESTABLISHED", "action": "ACCEPT"}]
        cube: dict[str, Any] = {"name": "fw", "service-name": "iptables", "type": hook, "loglevel": "OFF", "conntrack": "ON"}
        cube["chain"] = [{"name": "FORWARD", "default": "DROP", "rule": rules}]
        cube |= {"forward-by": "XDP"} if hook != "TC" else {}
        bed.apply({"cubes": [cube], "attachments": [{"netdev": host, "tcubes": ["fw"]} for host in HOSTS]})

    return prepare


def _lbrp(hook: str) -> Prepare:
    def prepare(_: contextlib.ExitStack, bed: Bed) -> None:
        ports = [{"name": host, "peer": host, "type": "FRONTEND", "ip": bed.address(host)} for host in ("h1", "h3")]
        ports.append({"name": "h2", "peer": "h2", "type": "BACKEND"})
        service = {"vip": VIP, "vport": 2000, "proto": "UDP", "backend": [{"ip": bed.address("h2"), "port": 8080}]}
        cube: dict[str, Any] = {"name": "lb", "service-name": "lbrp", "type": hook, "loglevel": "OFF", "port_mode": "MULTI"}
        bed.apply({"cubes": [cube | {"ports": ports, "service": [service]}]})

    return prepare


def _lbdsr(hook: str) -> Prepare:
    def prepare(_: contextlib.ExitStack, bed: Bed) -> None:
        ports = [{"name": "h1", "peer": "h1", "type": "FRONTEND"}, {"name": "h2", "peer": "h2", "type": "BACKEND"}]
        cube: dict[str, Any] = {"name": "lb", "service-name": "lbdsr", "type": hook, "loglevel": "OFF", "ports": ports}
        cube |= {"frontend": {"vip": VIP, "mac": bed.gateway_mac("h1")}, "backend": {"pool": [{"id": 1, "mac": bed.mac("h2")}]}}
        bed.apply({"cubes": [cube]})

    return prepare


ONE_TARGET, ONE_WAY = (("h1", "h2"), ("h3", "h2")), (("h1", "h2"), ("h1", "h2"))
CONTENDERS: dict[str, Contender] = {
    BARE: Contender(_bare),
    LINUX: Contender(_linux),
    **{
        f"{service}, {hook[:3]}": Contender(_bridge(service, hook), subnets=False)
        for service in ("simplebridge", "bridge") for hook in HOOKS
    },
    **{f"router, {hook[:3]}": Contender(_router(hook)) for hook in HOOKS},
    **{f"firewall on a router, {hook[:3]}": Contender(_router(hook, FIREWALL)) for hook in HOOKS},
    **{f"ddosmitigator on a router, {hook[:3]}": Contender(_router(hook, LISTED)) for hook in HOOKS},
    "nat on a router, TC": Contender(_router("TC", NAT, ("h2", "h4"))),
    **{f"pbforwarder, {hook[:3]}": Contender(_pbforwarder(hook), subnets=False) for hook in HOOKS},
    **{f"iptables, {hook[:3]}": Contender(_iptables(hook)) for hook in HOOKS},
    **{f"lbrp, {hook[:3]}": Contender(_lbrp(hook), pairs=ONE_TARGET, to=VIP) for hook in HOOKS},
    **{f"lbdsr, {hook[:3]}": Contender(_lbdsr(hook), pairs=ONE_WAY, to=VIP) for hook in HOOKS},
}  # fmt: skip
