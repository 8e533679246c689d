"""A Linux router with iptables between a host inside and one outside, through which single frames go: the oracle for the nat.

The hosts' addresses are not theirs: frames are sent from their ends of the wires, and seen there.
"""
from __future__ import annotations

from collections.abc import Sequence

from tests.lib.lab import Lab
from tests.lib.netns_topology import run_in
from tests.lib.packets import Sniffer, send_frames
from tests.lib.scapy_packets import Ether, Packet, built

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

    def out(self, packet: Packet) -> Packet | None:
        return self._through("h1", "h2", packet)

    def back(self, packet: Packet) -> Packet | None:
        return self._through("h2", "h1", packet)

    def turned(self, packet: Packet) -> Packet | None:
        """From inside, and what comes back inside."""
        return self._through("h1", "h1", packet)

    def _through(self, here: str, there: str, packet: Packet) -> Packet | None:
        mine, routers = MACS[here]
        frame = built(Ether(src=mine, dst=routers) / packet[Ether].payload)
        mark = bytes(packet)[-8:]
        send_frames(self.space(here), "eth0", [frame])
        found = self._seen[there].next(0.08, lambda each: mark in each and each[:6] == bytes.fromhex(MACS[there][0].replace(":", "")))
        return None if found is None else Ether(found)
