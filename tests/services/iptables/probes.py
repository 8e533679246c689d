"""Packets of one seed that go to a host, through it and from it, and which of them come to where they are for.

The hosts h1 and h2 that they name are not there, so nobody there answers; the host in the middle does, as it does to anybody.
"""
from __future__ import annotations

import random
import re
import socket
import struct
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import IPv4Address

from tests.lib.netns_topology import run_in
from tests.lib.packets import checksum, send_frames, sniff

HERE, THERE = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
ROUTER = {"h1": bytes.fromhex("020000000011"), "h2": bytes.fromhex("020000000012")}
CLIENTS = ("10.0.1.1", "10.0.1.2", "10.0.1.9", "10.0.1.66", "10.0.1.67", "10.0.1.68", "10.0.1.130", "10.0.1.200", "10.0.1.77")
SERVERS = ("10.0.2.1", "10.0.2.2", "10.0.2.9")
HOST = {"h1": "10.0.1.254", "h2": "10.0.2.254"}
HOSTS = """
hosts:
  h1: {addresses: [10.0.1.250/24], mac: "02:00:00:00:00:01", here: {addresses: [10.0.1.254/24], mac: "02:00:00:00:00:11"}}
  h2: {addresses: [10.0.2.250/24], mac: "02:00:00:00:00:02", here: {addresses: [10.0.2.254/24], mac: "02:00:00:00:00:12"}}
"""
PORTS = (9, 22, 25, 53, 80, 443, 1000, 1005, 1500, 2323, 3000, 4000, 4001, 5000, 5353, 6005, 7000, 7001, 7002, 8001, 8008, 8080, 36412)
FLAGS = (2, 2, 2, 2, 16, 18, 4, 0, 3, 17, 24)


@dataclass(frozen=True)
class Probe:
    """`way` is where it is sent and where it goes: 'h1>host', 'h1>h2', 'host>h1', …; `packet` is IPv4."""

    way: tuple[str, str]
    packet: bytes

    @property
    def mark(self) -> bytes:
        found = re.search(rb"#\d+#", self.packet)
        return found[0] if found else b""


def know_neighbours() -> None:
    for device, mac, addresses in (("v1", HERE, CLIENTS), ("v2", THERE, SERVERS)):
        for address in addresses:
            run_in(None, ["ip", "neigh", "replace", address, "lladdr", mac.hex(":"), "dev", device])
    run_in(None, ["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.icmp_ratelimit=0", "net.ipv4.icmp_msgs_per_sec=100000",
                  "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0"])  # fmt: skip


class Probes:
    def __init__(self, seed: int) -> None:
        self.random, self.count = random.Random(seed), 0

    def some(self, count: int) -> list[Probe]:
        """Flows of one packet to four, of this many packets in all."""
        found: list[Probe] = []
        while len(found) < count:
            found += self.flow()
        return found[:count]

    def flow(self) -> list[Probe]:
        near, far, address, other = self.ends()
        kind = self.random.choice((6, 6, 6, 17, 17, 1, 253))
        sport, dport = self.random.choice((*PORTS, 40000 + self.count, 40000 + self.count)), self.random.choice(PORTS)
        if kind == 6:
            flags = self.random.choice(FLAGS)
            steps = [(True, 2), (False, 18), (True, 16), (True, 24)] if flags == 2 else [(True, flags)]
            return [self.probe(near, far, address, other, way, 6, self.segment(sport, dport, way, bits), 16) for way, bits in steps]
        if kind == 17:
            return [self.probe(near, far, address, other, way, 17, struct.pack("!HHHH", *((sport, dport) if way else (dport, sport)), 20, 0), 6)
                    for way in (True, False, True)]  # fmt: skip
        if kind == 1:
            wanted, answer = self.random.choice(((8, 0), (8, 0), (13, 14), (3, None), (0, None)))
            head = struct.pack("!HHI", 1000 + self.count, 1, 0)[:4]
            said = [(True, wanted)] + ([(False, answer)] if answer is not None else [])
            return [self.probe(near, far, address, other, way, 1, struct.pack("!BBH", number, 4 if number == 3 else 0, 0) + head, 2)
                    for way, number in said]  # fmt: skip
        return [self.probe(near, far, address, other, True, kind, struct.pack("!HHII", sport, dport, 0, 0), None)]

    def ends(self) -> tuple[str, str, str, str]:
        """Who begins and with whom, and their addresses."""
        pick = self.random.choice
        near, far = pick((("h1", "host"), ("h1", "host"), ("h2", "host"), ("h1", "h2"), ("h1", "h2"), ("h2", "h1"), ("host", "h1"), ("host", "h2")))

        def address(of: str, beside: str) -> str:
            return HOST[beside] if of == "host" else pick(CLIENTS if of == "h1" else SERVERS)

        return near, far, address(near, far), address(far, near)

    def segment(self, sport: int, dport: int, way: bool, flags: int) -> bytes:
        ports = (sport, dport) if way else (dport, sport)
        sequence = {(True, 2): (100, 0), (False, 18): (500, 101), (True, 16): (101, 501), (True, 24): (101, 501)}.get((way, flags), (7, 9))
        return struct.pack("!HHIIBBHHH", *ports, *sequence, 0x50, flags, 8192, 0, 0)

    def probe(self, near: str, far: str, src: str, dst: str, forwards: bool, proto: int, header: bytes, sum_at: int | None) -> Probe:
        self.count += 1
        if not forwards:
            near, far, src, dst = far, near, dst, src
        payload = bytearray(header + f"#{self.count:010}#".encode())
        source, target = IPv4Address(src).packed, IPv4Address(dst).packed
        pseudo = b"" if proto == 1 else source + target + struct.pack("!HH", proto, len(payload))
        if sum_at is not None:
            struct.pack_into("!H", payload, sum_at, checksum(pseudo + bytes(payload)))
        ip = bytearray(struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), self.count & 0xFFFF, 0, 64, proto, 0, source, target))
        struct.pack_into("!H", ip, 10, checksum(bytes(ip)))
        return Probe((near, far), bytes(ip) + bytes(payload))


def seen(probes: Sequence[Probe], spaces: dict[str, str]) -> list[bool]:
    """Of each probe, whether it came to where it is for. `spaces` are the namespaces of h1 and h2; the host is this one."""
    found: dict[str, set[bytes]] = {"h1": set(), "h2": set(), "host": set()}
    with ExitStack() as stack:
        sniffers = {name: stack.enter_context(sniff(space, "eth0")) for name, space in spaces.items()}
        sockets = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_RAW, proto)) for proto in (1, 6, 17, 132, 253)]
        sender = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW))
        for each in sockets:
            each.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)  # SO_RCVBUFFORCE
            each.setblocking(False)
        for number, probe in enumerate(probes):
            where, _ = probe.way
            if where == "host":
                try:
                    sender.sendto(probe.packet, (socket.inet_ntoa(probe.packet[16:20]), 0))
                except OSError:  # iptables says so to a local sender
                    pass
            else:
                frame = ROUTER[where] + (HERE if where == "h1" else THERE) + b"\x08\x00" + probe.packet
                send_frames(spaces[where], "eth0", [frame])
            if number % 20 == 19:
                time.sleep(0.005)
                _collect(found, sniffers, sockets)
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            _collect(found, sniffers, sockets)
            time.sleep(0.02)
    return [probe.mark in found[probe.way[1]] for probe in probes]


def _collect(found: dict[str, set[bytes]], sniffers: dict, sockets: list[socket.socket]) -> None:
    for name, sniffer in sniffers.items():
        while (frame := sniffer.next(0, lambda _: True)) is not None:
            found[name] |= set(re.findall(rb"#\d+#", frame))
    for each in sockets:
        while True:
            try:
                packet = each.recv(2048)
            except BlockingIOError:
                break
            found["host"] |= set(re.findall(rb"#\d+#", packet))
