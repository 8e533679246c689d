"""The nat against iptables: the same packets in, the same packets out, but for the port that either chooses.

A sequence mixes flows of all protocols from several hosts through every kind of rule, packets in two fragments, ICMP errors about them, and
their ends, in a random order. A port that both chose for a flow is the same flow's from then on: packets back are sent to the one that each
gave it. Linux puts fragments together and takes them apart again, the nat has each go its way: the same ones leave.

REDIRECT leads what comes for any port of a host to one of its own, where it has the host's own address for both. Here it is port forwarding
from that address to itself, on a nat on the host's netdev.
"""
from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.lib.scapy_packets import ICMP, IP, TCP, UDP, Ether, Packet, Raw, built
from tests.services.nat.iptables_lab import LinuxHost, LinuxNat
from tests.services.nat.machine import ETH, Machine, echo, ends, is_right

pytestmark = pytest.mark.kernel
log = logging.getLogger(__name__)

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
PATIENT = {"timeouts": dict.fromkeys(("icmp", "udp", "tcp-transitory"), 3600)}  # as iptables_lab.PATIENT
RULES: dict[str, Any] = PATIENT | {
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


@dataclass(frozen=True)
class World:
    """What is forwarded, and who has an address of its own outside."""

    forwarded: list[tuple[str, int, str, str, int]]
    dnat: tuple[str, str] | None
    kinds: tuple[str, ...]
    inside: float  # how many of the flows begin there


ROUTER = World(FORWARDED, (DNAT, "10.0.0.3"), ("tcp", "tcp", "udp", "echo"), 0.6)


class Sequence:
    def __init__(self, seed: int, flows: int, world: World = ROUTER) -> None:
        self.random, self.number, self.world = random.Random(seed), 0, world
        self.taken: set[tuple[str, tuple[str, int], str]] = set()
        self.flows = [self._flow() for _ in range(flows)]

    def _flow(self) -> Flow:
        self.number += 1
        kind, from_inside = self.random.choice(self.world.kinds), self.random.random() < self.world.inside
        near = self.random.choice(INSIDE), self.random.choice((4000, 4001, 30000 + self.number))
        far = self.random.choice(OUTSIDE), 443 if from_inside else 20000 + self.number
        if (kind, near, far[0]) in self.taken:
            near = near[0], 40000 + self.number
        self.taken.add((kind, near, far[0]))
        flow = Flow(kind, near, far, from_inside, self._steps(kind, from_inside))
        if not from_inside:
            dnat = self.world.dnat
            to, port, proto, inside, there = self.random.choice([each for each in self.world.forwarded if dnat or each[2].lower() == kind])
            if proto.lower() == kind:
                flow.near, addressed = (inside, there), (to, port)
            elif dnat:
                flow.near, addressed = (dnat[1], flow.near[1]), (dnat[0], flow.near[1])
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

    def packets(self, flow: Flow, out: bool, what: str, who: str, pieces: int) -> list[Packet]:
        """The packet of this step, for who translates, in so many fragments; none: an answer to what did not come through."""
        near = flow.near if out else flow.seen.get(who)
        if near is None:
            return []
        source, target = (near, flow.far) if out else (flow.far, near)
        mark = f"#{self.number:07}".encode()
        if what == "error":  # about a packet the other way, or the first fragment of one
            about = self.plain(flow, target, source, b"")
            about[IP].flags = "MF" if pieces > 1 else 0
            body = bytes(about.payload) + bytes(8)
            return [ETH / IP(src=source[0], dst=target[0], id=1) / ICMP(type=3, code=1) / Raw(body[:28] + mark)]
        if pieces == 1:
            return [self.plain(flow, source, target, mark, what)]
        fill = bytes(4 if flow.kind == "tcp" else 0)  # so that the first one ends in a mark, at a multiple of 8
        return in_two(self.plain(flow, source, target, fill + mark + b"~" + mark[1:], what), self.number)

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


def in_two(packet: Packet, number: int) -> list[Packet]:
    """A packet as two fragments, of which the second has its last 8 bytes."""
    head = Ether(built(packet))[IP]
    body = built(head.payload)
    cut = len(body) - 8
    parts = ((0, "MF", body[:cut]), (cut // 8, 0, body[cut:]))
    return [ETH / IP(src=head.src, dst=head.dst, id=number & 0xFFFF, proto=head.proto, frag=at, flags=flags) / Raw(part) for at, flags, part in parts]


def whole(pieces: list[Packet | None]) -> Packet | None:
    """What they are together; None if one is missing."""
    there = [Ether(built(piece))[IP] for piece in pieces if piece is not None]
    if len(there) < len(pieces):
        return None
    bodies = [bytes(head)[head.ihl * 4 : head.len] for head in there]
    first = there[0]
    return ETH / IP(bytes(IP(src=first.src, dst=first.dst, id=first.id, tos=first.tos, ttl=first.ttl, proto=first.proto) / Raw(b"".join(bodies))))


def shapes(pieces: list[Packet | None]) -> list[tuple[int, str, int]]:
    return [(piece[IP].frag, str(piece[IP].flags), piece[IP].len) for piece in pieces if piece is not None]


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


Through = Callable[[bool, list[Packet], float], list[Packet | None]]  # from inside, a packet or its fragments, seconds to wait: what came


def differences(sequence: Sequence, sides: dict[str, Through], fragmented: Callable[[bool], float]) -> tuple[int, int, list[str]]:
    """How many packets went through, how many of them in fragments, and what came out differently. `fragmented`: how often those from inside,
    and from outside, are."""
    found, through, in_fragments = [], 0, 0
    for flow, out, what in sequence:
        sequence.number += 1
        pieces = 2 if sequence.random.random() < fragmented(out) else 1
        sent = {who: sequence.packets(flow, out, what, who, pieces) for who in sides}
        if not all(sent.values()):
            continue
        came = {"pcn": sides["pcn"](out, sent["pcn"], 0)}
        came["linux"] = sides["linux"](out, sent["linux"], 0.08 if None in came["pcn"] else 5)  # a busy machine takes its time
        linux, pcn = whole(came["linux"]), whole(came["pcn"])
        through += linux is not None
        in_fragments += linux is not None and len(sent["pcn"]) > 1
        if out and what != "error" and flow.from_inside and not flow.seen:
            flow.seen = {who: (ends(packet) or ("", 0))[:2] for who, packet in (("linux", linux), ("pcn", pcn)) if packet is not None}
        same_port = len(set(flow.seen.values())) == 1
        other = len(came["linux"]) == len(came["pcn"]) and shapes(came["linux"]) != shapes(came["pcn"])
        if differs(linux, pcn, same_port) or other:
            sides_say = "; ".join(f"{who}: {packet.summary() + ' ' + (like(packet) or b'').hex() if packet else 'dropped'}"
                                  for who, packet in (("linux", linux), ("pcn", pcn)))  # fmt: skip
            found.append(f"{flow.kind} {flow.near} {flow.far} {'out' if out else 'back'} {what} in {pieces}: {sides_say}")
    return through, in_fragments, found


def by_pcn(nat: Machine) -> Through:
    return lambda out, packets, wait: [(nat.out if out else nat.back)(packet) for packet in packets]


def on_a_router(seed: int, flows: int, hook: str) -> tuple[int, int, list[str]]:
    with Machine(hook=hook, **RULES) as pcn, LinuxNat(IPTABLES, INSIDE, OUTSIDE) as linux:
        def by_linux(out: bool, packets: list[Packet], wait: float) -> list[Packet | None]:
            return linux.through(*(("h1", "h2") if out else ("h2", "h1")), packets, wait)

        return differences(Sequence(seed, flows), {"pcn": by_pcn(pcn), "linux": by_linux}, lambda out: 0.3)


REDIRECTED = World([(OWN, 80, "TCP", OWN, 8080), (OWN, 53, "UDP", OWN, 5353)], None, ("tcp", "udp"), 0)
REDIRECT = ["-A PREROUTING -i v2 -p tcp --dport 80 -j REDIRECT --to-ports 8080", "-A PREROUTING -i v2 -p udp --dport 53 -j REDIRECT --to-ports 5353"]


def on_a_host(seed: int, flows: int, hook: str) -> tuple[int, int, list[str]]:
    rules = [{"id": n, "external-ip": to, "external-port": port, "proto": proto, "internal-ip": inside, "internal-port": there}
             for n, (to, port, proto, inside, there) in enumerate(REDIRECTED.forwarded)]  # fmt: skip
    with Machine(hook=hook, port_forwarding=rules, **PATIENT) as pcn, LinuxHost(REDIRECT, (), OUTSIDE) as linux:
        def by_linux(out: bool, packets: list[Packet], wait: float) -> list[Packet | None]:
            return [linux.out(packets[0], wait) if out else linux.received(packets, wait)]

        return differences(Sequence(seed, flows, REDIRECTED), {"pcn": by_pcn(pcn), "linux": by_linux}, lambda out: 0 if out else 0.3)


PLACES = {"MASQUERADE, SNAT, DNAT": on_a_router, "REDIRECT": on_a_host}


@pytest.mark.parametrize("place", PLACES.values(), ids=list(PLACES))
@pytest.mark.parametrize("hook", ["TC", "XDP_DRV"])
def test_the_same_packets_come_out_as_of_iptables(hook: str, place: Callable[..., tuple[int, int, list[str]]]) -> None:
    seed = random.randrange(1 << 32)
    through, in_fragments, found = place(seed, 40, hook)
    assert found == [], f"seed {seed}"
    assert through > 80, f"seed {seed}: too few packets went through Linux to compare"
    assert in_fragments > 8, f"seed {seed}: too few of them were in fragments"


@pytest.mark.exhaustive
@pytest.mark.timeout(600)
@pytest.mark.parametrize("place", PLACES.values(), ids=list(PLACES))
@pytest.mark.parametrize("hook", ["TC", "XDP_DRV"])
def test_the_same_packets_come_out_as_of_iptables_for_long(hook: str, place: Callable[..., tuple[int, int, list[str]]]) -> None:
    for seed in (random.randrange(1 << 32) for _ in range(4)):
        through, in_fragments, found = place(seed, 400, hook)
        log.info("seed %d: %d packets through both, %d of them in fragments", seed, through, in_fragments)
        assert found == [], f"seed {seed}"
        assert through > 800
