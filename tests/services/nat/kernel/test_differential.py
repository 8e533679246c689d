"""The nat against iptables: the same packets in, the same packets out, but for the port that either chooses.

A sequence mixes flows of all protocols from several hosts through every kind of rule, ICMP errors about them, and their ends, in a random
order. A port that both chose for a flow is the same flow's from then on: packets back are sent to the one that each gave it.
"""
from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.lib.scapy_packets import ICMP, IP, TCP, UDP, Ether, Packet, Raw, built
from tests.services.nat.iptables_lab import LinuxNat
from tests.services.nat.machine import ETH, Machine, echo, ends, is_right

pytestmark = pytest.mark.kernel

INSIDE = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
OUTSIDE = ["198.51.100.1", "198.51.100.2"]
OWN, SNAT, DNAT, FORWARD = "198.51.100.254", "192.0.2.2", "192.0.2.3", "192.0.2.4"
IPTABLES = [
    f"-A PREROUTING -i v2 -d {FORWARD} -p tcp --dport 80 -j DNAT --to-destination 10.0.0.1:8080",
    f"-A PREROUTING -i v2 -d {FORWARD} -p udp --dport 53 -j DNAT --to-destination 10.0.0.2:5353",
    f"-A PREROUTING -i v2 -d {DNAT} -j DNAT --to-destination 10.0.0.3",
    f"-A POSTROUTING -o v2 -s 10.0.0.2/32 -j SNAT --to-source {SNAT}",
    "-A POSTROUTING -o v2 -s 10.0.0.0/24 -j MASQUERADE",
]
FORWARDED = [(FORWARD, 80, "TCP", "10.0.0.1", 8080), (FORWARD, 53, "UDP", "10.0.0.2", 5353)]
RULES: dict[str, Any] = {
    "masquerade": {"enabled": True, "external-ip": OWN},
    "snat": [{"id": 1, "internal-net": "10.0.0.2/32", "external-ip": SNAT}],
    "dnat": [{"id": 1, "external-ip": DNAT, "internal-ip": "10.0.0.3"}],
    "port_forwarding": [
        {"id": n, "external-ip": to, "external-port": port, "proto": proto, "internal-ip": inside, "internal-port": there}
        for n, (to, port, proto, inside, there) in enumerate(FORWARDED)
    ],
}


@dataclass
class Flow:
    """Between `near`, inside, and `far`. `seen` is what near is outside, by who translates; from outside it is what was addressed."""

    kind: str
    near: tuple[str, int]
    far: tuple[str, int]
    from_inside: bool
    steps: list[tuple[bool, str]]  # whether from inside, and TCP's flags or 'echo', 'reply', 'error'
    seen: dict[str, tuple[str, int]] = field(default_factory=dict)


class Sequence:
    def __init__(self, seed: int, flows: int) -> None:
        self.random, self.number = random.Random(seed), 0
        self.taken: set[tuple[str, tuple[str, int], str]] = set()
        self.flows = [self._flow() for _ in range(flows)]

    def _flow(self) -> Flow:
        self.number += 1
        kind, from_inside = self.random.choice(("tcp", "tcp", "udp", "echo")), self.random.random() < 0.6
        near = self.random.choice(INSIDE), self.random.choice((4000, 4001, 30000 + self.number))
        far = self.random.choice(OUTSIDE), 443 if from_inside else 20000 + self.number
        if (kind, near, far[0]) in self.taken:
            near = near[0], 40000 + self.number
        self.taken.add((kind, near, far[0]))
        flow = Flow(kind, near, far, from_inside, self._steps(kind, from_inside))
        if not from_inside:
            to, port, proto, inside, there = self.random.choice(FORWARDED)
            if proto.lower() == kind:
                flow.near, addressed = (inside, there), (to, port)
            else:
                flow.near, addressed = ("10.0.0.3", flow.near[1]), (DNAT, flow.near[1])
            flow.seen = {"linux": addressed, "pcn": addressed}
        return flow

    def _steps(self, kind: str, out: bool) -> list[tuple[bool, str]]:
        if kind == "echo":
            return [(out, "request"), (not out, "reply"), (out, "request")]
        if kind == "udp":
            steps = [(out, ""), (not out, ""), (out, "")]
            return [*steps, (self.random.random() < 0.5, "error")] if self.random.random() < 0.6 else steps
        end: list[list[tuple[bool, str]]] = [[(out, "FA"), (not out, "FA"), (out, "A")], [(not out, "FA"), (out, "FA"), (not out, "A")],
                                             [(out, "RA")], [(not out, "RA")]]  # fmt: skip
        return [(out, "S"), (not out, "SA"), (out, "A"), (out, "PA"), (not out, "error"), *self.random.choice(end)]

    def __iter__(self) -> Iterator[tuple[Flow, bool, str]]:
        """Steps of all flows, mixed, each flow's in their order."""
        order = [flow for flow in self.flows for _ in flow.steps]
        self.random.shuffle(order)
        at = {id(flow): 0 for flow in self.flows}
        for flow in order:
            out, what = flow.steps[at[id(flow)]]
            at[id(flow)] += 1
            yield flow, out, what

    def packet(self, flow: Flow, out: bool, what: str, who: str) -> Packet | None:
        """The packet of this step, for who translates; None: an answer to what did not come through."""
        near = flow.near if out else flow.seen.get(who)
        if near is None:
            return None
        source, target = (near, flow.far) if out else (flow.far, near)
        mark = f"#{self.number:07}".encode()
        if what == "error":  # about a packet the other way
            about = self.plain(flow, target, source, b"")
            body = bytes(about.payload) + bytes(8)
            return ETH / IP(src=source[0], dst=target[0], id=1) / ICMP(type=3, code=1) / Raw(body[:28] + mark)
        return self.plain(flow, source, target, mark, what)

    def plain(self, flow: Flow, source: tuple[str, int], target: tuple[str, int], mark: bytes, what: str = "A") -> Packet:
        if flow.kind == "echo":
            number = (source if flow.from_inside == (source != flow.far) else target)[1]  # the asker's
            packet = echo(source[0], target[0], number, reply=what == "reply")
            packet[ICMP].remove_payload()
            return packet / Raw(mark)
        network = IP(src=source[0], dst=target[0], id=1)
        if flow.kind == "udp":
            return ETH / network / UDP(sport=source[1], dport=target[1]) / Raw(mark)
        return ETH / network / TCP(sport=source[1], dport=target[1], flags=what or "A", seq=1000, ack=1000 if what != "S" else 0) / Raw(mark)


def like(packet: Packet | None) -> bytes | None:
    """A packet as both translators should have made it: without what a router changes on its way, and with the same checksums."""
    if packet is None:
        return None
    again = Ether(built(packet))[IP].copy()
    again.ttl, again.chksum = 64, 0
    size = again.len
    return bytes(again)[:size]


def differs(linux: Packet | None, pcn: Packet | None, same_port: bool) -> bool:
    """Where the two chose different ports, only the far end and the addresses can be held against each other."""
    if linux is None or pcn is None or same_port:
        return like(linux) != like(pcn)
    return (linux[IP].src, linux[IP].dst, linux[IP].len) != (pcn[IP].src, pcn[IP].dst, pcn[IP].len) or not is_right(pcn)


def differences(seed: int, flows: int, hook: str) -> tuple[int, list[str]]:
    """How many packets went through, and what came out differently."""
    sequence, found, through = Sequence(seed, flows), [], 0
    with Machine(hook=hook, **RULES) as pcn, LinuxNat(IPTABLES, INSIDE, OUTSIDE) as linux:
        sides: dict[str, Any] = {"linux": linux, "pcn": pcn}
        for flow, out, what in sequence:
            sequence.number += 1
            sent = {who: sequence.packet(flow, out, what, who) for who in sides}
            if None in sent.values():
                continue
            came = {who: getattr(side, "out" if out else "back")(sent[who]) for who, side in sides.items()}
            through += came["linux"] is not None
            if out and what != "error" and flow.from_inside and not flow.seen:
                flow.seen = {who: (ends(packet) or ("", 0))[:2] for who, packet in came.items() if packet is not None}
            same_port = len(set(flow.seen.values())) == 1
            if differs(came["linux"], came["pcn"], same_port):
                sides_say = "; ".join(f"{who}: {packet.summary() + ' ' + (like(packet) or b'').hex() if packet else 'dropped'}" for who, packet in came.items())
                found.append(f"{flow.kind} {flow.near} {flow.far} {'out' if out else 'back'} {what}: {sides_say}")
    return through, found


@pytest.mark.parametrize("hook", ["TC", "XDP_DRV"])
def test_the_same_packets_come_out_as_of_iptables(hook: str) -> None:
    seed = random.randrange(1 << 32)
    through, found = differences(seed, 40, hook)
    assert found == [], f"seed {seed}"
    assert through > 80, f"seed {seed}: too few packets went through Linux to compare"


@pytest.mark.exhaustive
@pytest.mark.timeout(600)
@pytest.mark.parametrize("hook", ["TC", "XDP_DRV"])
def test_the_same_packets_come_out_as_of_iptables_for_long(hook: str) -> None:
    for seed in (random.randrange(1 << 32) for _ in range(4)):
        through, found = differences(seed, 400, hook)
        assert found == [], f"seed {seed}"
        assert through > 800
