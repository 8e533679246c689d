"""A Linux router with iptables between a host inside and one outside, through which single frames go: the oracle for the nat.

The hosts' addresses are not theirs: frames are sent from their ends of the wires, and seen there.
"""
from __future__ import annotations

import select
import socket
import time
from collections.abc import Sequence

from tests.lib.lab import Lab
from tests.lib.netns_topology import run_in
from tests.lib.packets import Sniffer, send_frames
from tests.lib.scapy_packets import IP, Ether, Packet, built

MACS = {"h1": ("02:00:00:00:00:01", "02:00:00:00:00:11"), "h2": ("02:00:00:00:00:02", "02:00:00:00:00:12")}  # the host's, the router's
TEXT = """
hosts:
  h1: {addresses: [10.0.0.77/24], mac: "02:00:00:00:00:01", here: {addresses: [10.0.0.254/24], mac: "02:00:00:00:00:11"}}
  h2: {addresses: [198.51.100.77/24], mac: "02:00:00:00:00:02", here: {addresses: [198.51.100.254/24], mac: "02:00:00:00:00:12"}}
"""

# A long sequence on a busy machine takes longer than Linux keeps what is not answered: time-outs are not what is compared.
PATIENT = [f"net.netfilter.nf_conntrack_{kind}=900" for kind in (
    "icmp_timeout", "udp_timeout", "udp_timeout_stream", "tcp_timeout_syn_sent", "tcp_timeout_syn_recv", "tcp_timeout_fin_wait",
    "tcp_timeout_close_wait", "tcp_timeout_last_ack", "tcp_timeout_unacknowledged",
)]  # fmt: skip


class LinuxNat(Lab):
    def __init__(self, rules: Sequence[str], inside: Sequence[str], outside: Sequence[str]) -> None:
        super().__init__(TEXT)
        self._rules, self._neighbours = rules, {"h1": inside, "h2": outside}
        self._seen: dict[str, Sniffer] = {}

    def __enter__(self) -> LinuxNat:
        super().__enter__()
        self.apply()
        for host, addresses in self._neighbours.items():
            for address in addresses:
                run_in(None, ["ip", "neigh", "replace", address, "lladdr", MACS[host][0], "dev", "v" + host[1:]])
        run_in(None, ["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.icmp_ratelimit=0",
                      "net.ipv4.conf.all.send_redirects=0", "net.ipv4.conf.v1.send_redirects=0",
                      "net.netfilter.nf_conntrack_tcp_be_liberal=1", *PATIENT])  # fmt: skip
        for rule in self._rules:
            run_in(None, ["iptables-legacy", "-t", "nat", *rule.split()])
        self._seen = {host: self.sniff(host) for host in MACS}
        return self

    def __exit__(self, *words: object) -> None:
        for sniffer in self._seen.values():
            sniffer.__exit__()
        super().__exit__(*words)

    def out(self, packet: Packet, wait: float = 0.08) -> Packet | None:
        return self.through("h1", "h2", [packet], wait)[0]

    def back(self, packet: Packet, wait: float = 0.08) -> Packet | None:
        return self.through("h2", "h1", [packet], wait)[0]

    def turned(self, packet: Packet, wait: float = 0.08) -> Packet | None:
        """From inside, and what comes back inside."""
        return self.through("h1", "h1", [packet], wait)[0]

    def through(self, here: str, there: str, packets: Sequence[Packet], wait: float = 0.08) -> list[Packet | None]:
        """What comes of packets that are sent one after the other, such as the fragments of one. A packet is known by its last 8 bytes."""
        self._send(here, packets)
        return [self._seen_at(there, bytes(packet)[-8:], wait) for packet in packets]

    def _send(self, here: str, packets: Sequence[Packet]) -> None:
        mine, routers = MACS[here]
        send_frames(self.space(here), "eth0", [built(Ether(src=mine, dst=routers) / packet[Ether].payload) for packet in packets])

    def _seen_at(self, there: str, mark: bytes, wait: float) -> Packet | None:
        found = self._seen[there].next(wait, lambda each: mark in each and each[:6] == bytes.fromhex(MACS[there][0].replace(":", "")))
        return None if found is None else Ether(found)


class LinuxHost(LinuxNat):
    """The router as a host: what comes from outside is for itself (REDIRECT), and it answers. It says nothing by itself."""

    SILENT = ("-t raw -A OUTPUT -p tcp -m mark ! --mark 1 -j DROP", "-t raw -A OUTPUT -p icmp -m mark ! --mark 1 -j DROP")

    def __enter__(self) -> LinuxHost:
        super().__enter__()
        for rule in self.SILENT:
            run_in(None, ["iptables-legacy", *rule.split()])
        self._own = [self._raw(number) for number in (socket.IPPROTO_TCP, socket.IPPROTO_UDP, socket.IPPROTO_ICMP)]
        return self

    def __exit__(self, *words: object) -> None:
        for sock in self._own:
            sock.close()
        super().__exit__(*words)

    def _raw(self, protocol: int) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 1)
        sock.setblocking(False)
        return sock

    def out(self, packet: Packet, wait: float = 0.08) -> Packet | None:
        """What the host says, as it leaves."""
        self._own[0].sendto(built(packet[Ether].payload), (packet[IP].dst, 0))
        return self._seen_at("h2", bytes(packet)[-8:], wait)

    def received(self, packets: Sequence[Packet], wait: float = 0.08) -> Packet | None:
        """What the host gets of a packet, or of all its fragments."""
        self._send("h2", packets)
        mark, deadline = bytes(packets[-1])[-8:], time.monotonic() + wait
        while (left := deadline - time.monotonic()) > 0:
            for sock in select.select(self._own, [], [], left)[0]:
                if (found := sock.recv(9000)).endswith(mark):
                    return Ether() / IP(found)
        return None
