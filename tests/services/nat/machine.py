"""A nat on a netdev whose programs are run on single frames, without a wire: what goes in, and what comes out.

    with Machine(hook="TC", masquerade={"enabled": True, "external-ip": "192.0.2.1"}) as nat:
        out = nat.out(udp("10.0.0.1", 4000, "198.51.100.9", 53))     # from inside; None: it was dropped
        back = nat.back(reply)                                       # from outside
"""
from __future__ import annotations

from typing import Any

from reconciler.kernel import programs
from reconciler.kernel.bpffs import Bpffs
from tests.lib.lab import VERDICTS, Lab
from tests.lib.packets import checksum
from tests.lib.scapy_packets import ICMP, IP, TCP, UDP, Ether, ICMPv6EchoReply, ICMPv6EchoRequest, IPv6, Packet, built

ERRORS = (3, 11, 12)  # of ICMP: destination unreachable, time exceeded, parameter problem
ETH = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
TEXT = """
hosts: {h1: 203.0.113.77/24}
cubes:
  - {name: nat1, service-name: nat}
attachments: [{netdev: v1, tcubes: [nat1]}]
"""


class Machine(Lab):
    """`settings` are leaves of the nat, with '_' for '-', or kinds of rules: a list of entries, or masquerade's leaves."""

    def __init__(self, *, hook: str = "TC", **settings: Any) -> None:
        super().__init__(TEXT, hook=hook)
        self.nat = self.cube("nat1")
        self.verdict = ""
        self.set(**settings)

    def __enter__(self) -> Machine:
        super().__enter__()
        self.apply()
        return self

    def set(self, **settings: Any) -> None:
        for name, value in settings.items():
            leaf = name.replace("_", "-")
            if leaf in ("snat", "dnat", "port-forwarding", "nptv6", "masquerade"):
                self.nat.setdefault("rule", {})[leaf] = {"entry": value} if isinstance(value, list) else value
            else:
                self.nat[leaf] = value

    def out(self, packet: Packet | bytes) -> Packet | None:
        twin = "" if self.hook == "TC" else "twin/"
        return self._through(f"cubes/nat1/{twin}out/1_inner", packet, "TC")

    def turned(self, packet: Packet | bytes) -> Packet | None:
        """From inside, and what comes back inside because it turned around."""
        found = self.out(packet)
        return self.back(found) if found is not None and self.verdict == "redirect" else None

    def back(self, packet: Packet | bytes) -> Packet | None:
        return self._through("cubes/nat1/in/0_wire", packet, "TC" if self.hook == "TC" else "XDP")

    def _through(self, pin: str, packet: Packet | bytes, family: str) -> Packet | None:
        frame = packet if isinstance(packet, bytes) else built(packet)
        with Bpffs(self.root).opened(pin) as fd:
            verdict, found = programs.test_run(fd, frame)[:2]
        self.verdict = VERDICTS[family].get(verdict, str(verdict))
        return None if self.verdict == "drop" else Ether(found)

    def sessions(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.live_cube("nat1", state=True)["natting-table"]
        return found

    def refusals(self) -> dict[str, int]:
        """Drops by reason, by the numbers that the service gives its own."""
        return self.drops("nat1")


def _network(src: str) -> Any:
    return IPv6 if ":" in src else IP


def udp(src: str, sport: int, dst: str, dport: int, payload: bytes = b"question") -> Packet:
    return ETH / _network(src)(src=src, dst=dst) / UDP(sport=sport, dport=dport) / payload


def tcp(src: str, sport: int, dst: str, dport: int, flags: str = "S", payload: bytes = b"") -> Packet:
    return ETH / _network(src)(src=src, dst=dst) / TCP(sport=sport, dport=dport, flags=flags) / payload


def echo(src: str, dst: str, number: int, *, reply: bool = False) -> Packet:
    if ":" in src:
        return ETH / IPv6(src=src, dst=dst) / (ICMPv6EchoReply if reply else ICMPv6EchoRequest)(id=number, seq=1)
    return ETH / IP(src=src, dst=dst) / ICMP(type=0 if reply else 8, id=number, seq=1) / b"payload"


def ends(packet: Packet | None) -> tuple[str, int, str, int] | None:
    """Source, port, destination, port; of an echo its identifier for both ports."""
    if packet is None:
        return None
    network = packet[IPv6] if IPv6 in packet else packet[IP]
    for kind in (TCP, UDP):
        if kind in packet:
            return network.src, packet[kind].sport, network.dst, packet[kind].dport
    for kind in (ICMP, ICMPv6EchoRequest, ICMPv6EchoReply):
        if kind in packet:
            return network.src, packet[kind].id, network.dst, packet[kind].id
    return network.src, 0, network.dst, 0


def is_right(packet: Packet) -> bool:
    """Whether every checksum is what scapy makes of the packet. An ICMP error's is summed here: scapy takes what follows a short quote
    for an extension (RFC 4884), and leaves it out."""
    if ICMP in packet and packet[ICMP].type in ERRORS:
        return checksum(bytes(packet[ICMP])) == 0
    again = packet.copy()
    layer = again
    while layer:
        for name in ("chksum", "cksum"):
            if name in getattr(layer, "fields", {}) and type(layer).__name__ not in ("IPerror", "UDPerror", "TCPerror", "ICMPerror"):
                delattr(layer, name)
        layer = layer.payload
    return bytes(again) == bytes(packet)
