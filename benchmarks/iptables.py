"""The host's own firewall (`iptables`) against the kernel's iptables.

The same packets go through the same rules: *forwarded* from one host to another by the kernel, and *for this host*, to a socket
that nobody reads. Rules ask for source, UDP and destination port, and drop; no packet matches one, so all of them count. With
*tracked* a rule before them asks for the connection's state, so each packet's connection is looked up, which the kernel's
iptables leaves out otherwise. The packets are UDP frames of 60 bytes on one CPU, of one flow or of 100,000 in turn. With XDP
the cube forwards what FORWARD lets pass by itself (`forward-by: XDP`). A program at TC asks the routing table once more than
iptables does.
"""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import flows, linux
from benchmarks.bed import Bed, Flow
from benchmarks.compare import Effort, Table, compare
from benchmarks.firewall_peers import HOSTS, Rules
from reconciler.kernel import netns

SIZES = (10, 100, 1_000, 10_000)
MANY = 100_000  # flows
NOTHING = "no rules"
KERNELS = {"iptables-legacy": "iptables-legacy-restore", "iptables-nft": "iptables-nft-restore"}
CUBES = {"pcn TC": "TC", "pcn XDP": "XDP_DRV"}
CONTENDERS = (NOTHING, *KERNELS, *CUBES)
TURN_NS, LINEAR_NS = 40_000_000, 40  # as in benchmarks/firewall.py


@dataclass(frozen=True)
class Case:
    chain: str
    count: int
    tracked: bool = False
    flows: int = 1

    @property
    def title(self) -> str:
        way = "forwarded" if self.chain == "FORWARD" else "for this host"
        more = [*(["tracked"] if self.tracked else []), *([f"{self.flows:,} flows"] if self.flows > 1 else [])]
        return ", ".join([way, f"{self.count:,} rules", *more])


def run(effort: Effort) -> list[Table]:
    sizes = SIZES[:2] if effort.quick else SIZES
    chains = ("FORWARD", "INPUT")
    cases = [Case(chain, count, flows=flows) for chain in chains for flows in (1, MANY) for count in sizes]
    cases += [Case(chain, sizes[0], tracked=True) for chain in chains]
    return [_measured(case, effort.at_most(11)) for case in cases]


def _measured(case: Case, effort: Effort) -> Table:
    with contextlib.ExitStack() as stack:
        ways = {name: _flow(stack, name, case) for name in CONTENDERS}
        turns = {name: _turn(flow, _packets(name, case)) for name, flow in ways.items()}
        return compare(case.title, turns, effort, against="iptables-legacy", unit="packets a second")


def _packets(name: str, case: Case) -> int:
    return max(100, TURN_NS // (1000 + (LINEAR_NS * case.count if name in KERNELS else 0)))


def _turn(flow: Flow, packets: int) -> Any:
    return lambda: 1e9 / flow.turn(packets)


def _flow(stack: contextlib.ExitStack, name: str, case: Case) -> Flow:
    bed = stack.enter_context(Bed(HOSTS, subnets=True))
    linux.forwarding(bed)
    rules = Rules(case.count, sources=True)
    if name in KERNELS:
        bed.feed(KERNELS[name], _saved(case, rules))
    elif name in CUBES:
        bed.apply(_spec(case, rules, CUBES[name]))
    into = "XDP" if name == "pcn XDP" else "TC"
    if case.chain == "FORWARD" and case.flows > 1:
        first = flows.frame(bed, *HOSTS, bed.address(HOSTS[1]), 2000)
        return stack.enter_context(flows.flows(bed, *HOSTS, first, case.flows, into=into))
    if case.chain == "FORWARD":
        return stack.enter_context(bed.flow(*HOSTS, bed.udp(*HOSTS), into=into))
    return _to_the_host(stack, bed, case.flows)


def _to_the_host(stack: contextlib.ExitStack, bed: Bed, count: int) -> Flow:
    gateway = f"10.0.{bed.number(HOSTS[0])}.254"
    frame = flows.frame(bed, *HOSTS, gateway, 2000)
    counter = stack.enter_context(contextlib.closing(Heard(bed.middle, gateway)))
    program = stack.enter_context(flows.generator(bed, HOSTS[0], frame, count))
    return Flow(bed.space(HOSTS[0]), program, frame, counter)


class Heard:
    """Counts the datagrams that come to a host's socket, which nobody reads: most of them find it full."""

    def __init__(self, space: str, address: str) -> None:
        self._space = space
        with netns.inside(space):
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        self._socket.bind((address, 2000))

    def value(self) -> int:
        with netns.inside(self._space):
            text = Path("/proc/thread-self/net/snmp").read_text("ascii")
        names, values = (line.split()[1:] for line in text.splitlines() if line.startswith("Udp:"))
        found = dict(zip(names, values, strict=True))
        return int(found["InDatagrams"]) + int(found["InErrors"])

    def close(self) -> None:
        self._socket.close()


# -- the rules --------------------------------------------------------------------------------------------------------


def _saved(case: Case, rules: Rules) -> str:
    state = [f"-A {case.chain} -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT"] if case.tracked else []
    lines = [f"-A {case.chain} -s {source} -p udp --dport {port} -j DROP" for source, port in rules]
    return "\n".join(["*filter", f":{case.chain} ACCEPT [0:0]", *state, *lines, "COMMIT"])


def _spec(case: Case, rules: Rules, hook: str) -> dict[str, Any]:
    entries: list[dict[str, Any]] = [{"conntrack": "ESTABLISHED,RELATED", "action": "ACCEPT"}] if case.tracked else []
    entries += [{"src": source, "l4proto": "UDP", "dport": port, "action": "DROP"} for source, port in rules]
    chain = {"name": case.chain, "rule": [{"id": place, **rule} for place, rule in enumerate(entries)]}
    cube: dict[str, Any] = {"name": "fw", "service-name": "iptables", "type": hook, "loglevel": "OFF", "chain": [chain]}
    cube |= {"conntrack": "ON" if case.tracked else "OFF"} | ({"forward-by": "XDP"} if hook != "TC" else {})
    return {"cubes": [cube], "attachments": [{"netdev": host, "tcubes": ["fw"]} for host in HOSTS]}
