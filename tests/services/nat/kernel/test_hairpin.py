"""Packets from inside to somebody inside, by an address outside: on a router's port and on a netdev with real hosts, and against iptables."""
from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from cubes.nat import check
from reconciler.service.sdk import Env
from tests.lib.packets import tcp_exchange, udp_exchange
from tests.lib.scapy_packets import ICMP, IP, TCP, UDP, Packet, Raw
from tests.services.nat.iptables_lab import LinuxNat
from tests.services.nat.kernel.test_differential import PATIENT, like
from tests.services.nat.lab import NatLab
from tests.services.nat.machine import ETH, Machine, echo, ends

pytestmark = pytest.mark.kernel

TEXT = """
hosts:
  h1: {addresses: [10.0.1.1/24, "fd01::1/64"], routes: [{to: default, via: 10.0.1.254}, {to: "::/0", via: "fd01::fe"}]}
  h2: {addresses: [10.0.2.1/24, "fd02::1/64"], routes: [{to: default, via: 10.0.2.254}, {to: "::/0", via: "fd02::fe"}]}
  h3: {addresses: [10.0.3.1/24, "fd03::1/64"], routes: [{to: default, via: 10.0.3.254}, {to: "::/0", via: "fd03::fe"}]}
cubes:
  - name: r1
    service-name: router
    ports:
      - {name: to_v1, peer: v1, ip: 10.0.1.254/24, ipv6: "fd01::fe/64"}
      - {name: to_v2, peer: v2, ip: 10.0.2.254/24, ipv6: "fd02::fe/64", tcubes: [nat1]}
      - {name: to_v3, peer: v3, ip: 10.0.3.254/24, ipv6: "fd03::fe/64"}
    route:
      - {network: 0.0.0.0/0, nexthop: 10.0.2.1}
      - {network: "::/0", nexthop: "fd02::1"}
  - {name: nat1, service-name: nat}
"""
OUTSIDE = {"10.0.3.1": "203.0.113.80", "fd03::1": "2001:db8::80"}


@pytest.mark.parametrize("inside", list(OUTSIDE), ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("exchange", [tcp_exchange, udp_exchange], ids=["TCP", "UDP"])
def test_on_a_routers_port_a_host_reaches_another_by_its_address_outside_and_is_seen_from_there(inside, exchange) -> None:
    with NatLab(TEXT, hairpin=True) as lab:
        lab.apply()
        outside = OUTSIDE[inside]
        forward = {"id": 1, "external-ip": outside, "external-port": 60123, "internal-ip": inside, "internal-port": 60123}
        lab.rules(masquerade={"enabled": True}, **{"port-forwarding": [forward]})
        lab.reach("h3", "10.0.3.254")
        lab.reach("h1", inside)
        lab.reach("h1", "10.0.2.1" if "." in inside else "fd02::1")
        found = exchange(lab.space("h1"), lab.space("h3"), outside, 60123)
        assert found is not None
        assert (found.reply, found.source[0]) == (b"question", outside)
        assert {entry["originating-rule"] for entry in lab.sessions()} >= {"hairpin", "portforwarding"}
        lab.cube("nat1")["hairpin"] = False
        lab.apply()
        assert lab.live_cube("nat1").get("hairpin", False) is False


def test_under_xdp_a_warning_says_that_it_does_nothing() -> None:
    said = [(steps, severity) for steps, _, severity in check({"hairpin": True, "type": "XDP_DRV"}, Env())]
    assert said == [(("hairpin",), "warning")]
    assert not list(check({"hairpin": True, "type": "TC"}, Env()))


# -- against iptables ---------------------------------------------------------------------------------------------------

INSIDE = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
DNAT, FORWARD = "192.0.2.3", "192.0.2.4"
FORWARDED = [(FORWARD, 80, "TCP", "10.0.0.1", 8080), (FORWARD, 53, "UDP", "10.0.0.2", 5353)]
IPTABLES = [
    f"-A PREROUTING -d {FORWARD} -p tcp --dport 80 -j DNAT --to-destination 10.0.0.1:8080",
    f"-A PREROUTING -d {FORWARD} -p udp --dport 53 -j DNAT --to-destination 10.0.0.2:5353",
    f"-A PREROUTING -d {DNAT} -j DNAT --to-destination 10.0.0.3",
    f"-A POSTROUTING -o v1 -m conntrack --ctorigdst {FORWARD} -j SNAT --to-source {FORWARD}",
    f"-A POSTROUTING -o v1 -m conntrack --ctorigdst {DNAT} -j SNAT --to-source {DNAT}",
]
RULES = PATIENT | {
    "hairpin": True,
    "dnat": [{"id": 1, "external-ip": DNAT, "internal-ip": "10.0.0.3"}],
    "port_forwarding": [
        {"id": n, "external-ip": to, "external-port": port, "proto": proto, "internal-ip": inside, "internal-port": there}
        for n, (to, port, proto, inside, there) in enumerate(FORWARDED)
    ],
}


@dataclass
class Flow:
    """Of a client inside, to somebody inside by an address outside. `seen` is what the client is to that one, by who translates."""

    kind: str
    client: tuple[str, int]
    to: tuple[str, int]
    server: tuple[str, int]

    def packet(self, back: bool, what: str, mark: bytes, seen: tuple[str, int]) -> Packet:
        source, target = (self.server, seen) if back else (self.client, self.to)
        if what == "error":  # of the server, about the packet that came
            about = self.plain(target, source, b"", "")
            return ETH / IP(src=source[0], dst=target[0], id=1) / ICMP(type=3, code=1) / Raw((bytes(about.payload) + bytes(8))[:28] + mark)
        return self.plain(source, target, mark, what)

    def plain(self, source: tuple[str, int], target: tuple[str, int], mark: bytes, what: str) -> Packet:
        if self.kind == "echo":
            packet = echo(source[0], target[0], target[1] if what == "reply" else source[1], reply=what == "reply")
            packet[ICMP].remove_payload()
            return packet / Raw(mark)
        network = IP(src=source[0], dst=target[0], id=1)
        if self.kind == "udp":
            return ETH / network / UDP(sport=source[1], dport=target[1]) / Raw(mark)
        return ETH / network / TCP(sport=source[1], dport=target[1], flags=what or "A", seq=1000, ack=1000) / Raw(mark)


STEPS = {
    "tcp": [(False, "S"), (True, "SA"), (False, "A"), (True, "error"), (True, "FA"), (False, "FA"), (True, "A")],
    "udp": [(False, ""), (True, ""), (False, ""), (True, "error")],
    "echo": [(False, "request"), (True, "reply"), (False, "request")],
}


def flow_of(chance: random.Random, number: int) -> Flow:
    client = chance.choice(INSIDE), 30000 + number
    kind = chance.choice(("tcp", "udp", "echo"))
    to, port, proto, inside, there = chance.choice(FORWARDED)
    if proto.lower() == kind and chance.random() < 0.7:
        return Flow(kind, client, (to, port), (inside, there))
    port = 0 if kind == "echo" else 9
    return Flow(kind, client, (DNAT, port), ("10.0.0.3", port))


def test_what_turns_around_is_what_iptables_turns_around() -> None:
    seed = random.randrange(1 << 32)
    chance, number, found, through = random.Random(seed), 0, [], 0
    with Machine(hook="TC", **RULES) as pcn, LinuxNat(IPTABLES, INSIDE, []) as linux:
        sides = {"linux": linux, "pcn": pcn}
        for flow in (flow_of(chance, each) for each in range(25)):
            seen = dict.fromkeys(sides, flow.client)
            for step, (back, what) in enumerate(STEPS[flow.kind]):
                number += 1
                mark = f"#{number:07}".encode()
                came = {who: side.turned(flow.packet(back, what, mark, seen[who])) for who, side in sides.items()}
                if not step:
                    seen = {who: (ends(packet) or ("", 0))[:2] for who, packet in came.items() if packet is not None}
                    if len(seen) < 2:
                        found.append(f"{flow}: {came}")
                        break
                through += came["linux"] is not None
                if like(came["linux"]) != like(came["pcn"]):
                    found.append(f"{flow} {'back' if back else 'out'} {what}: {came}")
    assert found == [], f"seed {seed}"
    assert through > 60, f"seed {seed}"
