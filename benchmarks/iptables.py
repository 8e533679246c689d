"""The host's own firewall (`iptables`) against the kernel's iptables.

The same packets go through the same rules: *forwarded* from one host to another by the kernel, and *for this host*, to a socket
that nobody reads. Rules ask for source, UDP and destination port, and drop; no packet matches one, so all of them count. With
*tracked* a rule before them asks for the connection's state, so each packet's connection is looked up, which the kernel's
iptables leaves out otherwise. The packets are UDP frames of 60 bytes, one flow, on one CPU. With XDP the cube forwards what
FORWARD lets pass by itself (`forward-by: XDP`). A program at TC asks the routing table once more than iptables does.
"""

from __future__ import annotations

import contextlib
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import linux, programs
from benchmarks.bed import Bed, Flow
from benchmarks.compare import Effort, Table, compare
from benchmarks.firewall_peers import HOSTS, Rules
from reconciler.kernel import netns, rtnl

SIZES = (10, 100, 1_000, 10_000)
NOTHING = "no rules"
KERNELS = {"iptables-legacy": "iptables-legacy-restore", "iptables-nft": "iptables-nft-restore"}
CUBES = {"pcn TC": "TC", "pcn XDP": "XDP_DRV"}
CONTENDERS = (NOTHING, *KERNELS, *CUBES)
TURN_NS, LINEAR_NS = 40_000_000, 40  # as in benchmarks/firewall.py


@dataclass(frozen=True)
class Case:
    chain: str
    count: int
    tracked: bool

    @property
    def title(self) -> str:
        way = "forwarded" if self.chain == "FORWARD" else "for this host"
        return f"{way}, {self.count:,} rules{', tracked' if self.tracked else ''}"


def run(effort: Effort) -> list[Table]:
    sizes = SIZES[:2] if effort.quick else SIZES
    cases = [Case(chain, count, False) for chain in ("FORWARD", "INPUT") for count in sizes]
    cases += [Case(chain, sizes[0], True) for chain in ("FORWARD", "INPUT")]
    return [_measured(case, effort.at_most(11)) for case in cases]


def _measured(case: Case, effort: Effort) -> Table:
    with contextlib.ExitStack() as stack:
        flows = {name: _flow(stack, name, case) for name in CONTENDERS}
        turns = {name: _turn(flow, _packets(name, case)) for name, flow in flows.items()}
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
    if case.chain == "FORWARD":
        return stack.enter_context(bed.flow(*HOSTS, bed.udp(*HOSTS), into="XDP" if name == "pcn XDP" else "TC"))
    return _to_the_host(stack, bed)


def _to_the_host(stack: contextlib.ExitStack, bed: Bed) -> Flow:
    gateway = f"10.0.{bed.number(HOSTS[0])}.254"
    frame = bytearray(bed.udp(*HOSTS))
    target = bytes(map(int, gateway.split(".")))
    old, frame[30:34] = bytes(frame[30:34]), target
    total = (~int.from_bytes(frame[24:26], "big") & 0xFFFF) + sum(_words(target)) + sum(0xFFFF - word for word in _words(old))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    frame[24:26] = (~total & 0xFFFF).to_bytes(2, "big")
    counter = stack.enter_context(contextlib.closing(Heard(bed.middle, gateway)))
    with netns.inside(bed.space(HOSTS[0])):
        program = programs.generator(bytes(frame), out=rtnl.links()["eth0"].index)
    stack.callback(os.close, program)
    return Flow(bed.space(HOSTS[0]), program, bytes(frame), counter)


def _words(some: bytes) -> list[int]:
    return [int.from_bytes(some[at : at + 2], "big") for at in range(0, len(some), 2)]


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
