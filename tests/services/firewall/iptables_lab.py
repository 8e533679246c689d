"""Flows of real packets through a router, to see what its rules let pass: with iptables, and with the firewalls made of them.

A flow is a list of (forwards, frame): packets between one host behind v1 and one behind v2, both ways, as they would come one after
the other. The hosts that they name are not there, so nobody answers and a flow is what it says.
"""
from __future__ import annotations

import random
import re
import struct
from collections.abc import Sequence
from ipaddress import IPv4Address

from tests.lib.lab import Lab
from tests.lib.netns_topology import run_in
from tests.lib.packets import Sniffer, checksum, send_frames

HERE, THERE = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")  # of the hosts; the router's are 11 and 12
ROUTER = {True: bytes.fromhex("020000000011"), False: bytes.fromhex("020000000012")}
SERVERS, CLIENTS = ("10.0.1.2", "10.0.1.9"), ("10.0.0.1", "10.0.0.2", "10.0.0.9")
TEXT = """
hosts:
  h1: {addresses: [10.0.0.77/24], mac: "02:00:00:00:00:01", here: {addresses: [10.0.0.254/24], mac: "02:00:00:00:00:11"}}
  h2: {addresses: [10.0.1.77/24], mac: "02:00:00:00:00:02", here: {addresses: [10.0.1.254/24], mac: "02:00:00:00:00:12"}}
"""
Flow = list[tuple[bool, bytes]]


class RouterLab(Lab):
    """A router (the lab itself) between h1 and h2, whose neighbours it knows."""

    def __init__(self) -> None:
        super().__init__(TEXT)

    def __enter__(self) -> RouterLab:
        super().__enter__()
        self.apply()
        for device, mac, addresses in (("v1", HERE, CLIENTS), ("v2", THERE, SERVERS)):
            for address in addresses:
                run_in(None, ["ip", "neigh", "replace", address, "lladdr", mac.hex(":"), "dev", device])
        run_in(None, ["sysctl", "-qw", "net.ipv4.ip_forward=1"])
        return self

    def passes(self, flows: Sequence[Flow]) -> list[list[bool]]:
        """Of each flow, which packets come out. The next one is sent when one was seen, or after a while."""
        with self.sniff("h2") as there, self.sniff("h1") as here:
            return [[self._passes(there if forwards else here, forwards, frame) for forwards, frame in flow] for flow in flows]

    def _passes(self, seen: Sniffer, forwards: bool, frame: bytes) -> bool:
        send_frames(self.space("h1" if forwards else "h2"), "eth0", [frame])
        mark = mark_of(frame)
        return seen.next(0.03, lambda found: mark_of(found) == mark) is not None


def mark_of(frame: bytes) -> bytes:
    """What is the same in a packet on both sides of a router, and in no other: the end of its payload."""
    found = re.search(rb"#\d+#", frame)
    return found[0] if found else b""


class Flows:
    """Makes up to 1,000 packets of flows that are like no other, nor like those of another seed."""

    def __init__(self, seed: int) -> None:
        self.random, self.count = random.Random(seed), 1000 * seed

    def some(self, count: int) -> list[Flow]:
        return [self.random.choice((self.tcp, self.tcp, self.udp, self.echo, self.stray))() for _ in range(count)]

    def ends(self) -> tuple[str, int, str, int]:
        return self.random.choice(CLIENTS), self.random.choice((22, 80, 1000, 3000)), self.random.choice(SERVERS), self.random.choice((22, 80, 443, 1500))

    def tcp(self) -> Flow:
        src, _, dst, dport = self.ends()
        sport = 10_000 + self.count
        steps = ((True, 2), (False, 18), (True, 16), (True, 24), (False, 16), (False, 24), (True, 17), (False, 17), (True, 16))
        return [(forwards, self.segment(forwards, src, sport, dst, dport, flags)) for forwards, flags in steps]

    def segment(self, forwards: bool, src: str, sport: int, dst: str, dport: int, flags: int) -> bytes:
        ports = (sport, dport) if forwards else (dport, sport)
        return self.frame(forwards, src, dst, 6, struct.pack("!HHIIBBHHH", *ports, 1, 1 if flags & 16 else 0, 0x50, flags, 1024, 0, 0), 16)

    def udp(self) -> Flow:
        src, _, dst, dport = self.ends()
        sport = 10_000 + self.count
        flow = [(way, self.datagram(way, src, sport, dst, dport)) for way in (True, True, False, True)]
        error = struct.pack("!BBHI", 3, 3, 0, 0) + flow[0][1][14:42]
        return [*flow, (False, self.frame(False, src, dst, 1, error, 2))]

    def datagram(self, forwards: bool, src: str, sport: int, dst: str, dport: int) -> bytes:
        ports = (sport, dport) if forwards else (dport, sport)
        return self.frame(forwards, src, dst, 17, struct.pack("!HHHH", *ports, 8 + 12, 0), 6)

    def echo(self) -> Flow:
        src, _, dst, _ = self.ends()
        number = 10_000 + self.count
        return [(way, self.frame(way, src, dst, 1, struct.pack("!BBHHH", 8 if way else 0, 0, 0, number, 1), 2)) for way in (True, False)]

    def stray(self) -> Flow:
        """One packet in the middle of nothing."""
        src, _, dst, dport = self.ends()
        way = self.random.random() < 0.5
        return [(way, self.segment(way, src, 10_000 + self.count, dst, dport, self.random.choice((16, 18, 4, 17))))]

    def frame(self, forwards: bool, src: str, dst: str, proto: int, header: bytes, sum_at: int) -> bytes:
        """All checksums are right, or the kernel's tracking takes no notice."""
        self.count += 1
        source, target = (IPv4Address(address).packed for address in ((src, dst) if forwards else (dst, src)))
        payload = bytearray(header + f"#{self.count:010}#".encode()[:12])
        if proto == 17:
            struct.pack_into("!H", payload, 4, len(payload))
        pseudo = b"" if proto == 1 else source + target + struct.pack("!HH", proto, len(payload))
        struct.pack_into("!H", payload, sum_at, checksum(pseudo + bytes(payload)))
        ip = bytearray(struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), self.count & 0xFFFF, 0, 64, proto, 0, source, target))
        struct.pack_into("!H", ip, 10, checksum(bytes(ip)))
        return ROUTER[forwards] + (HERE if forwards else THERE) + b"\x08\x00" + bytes(ip) + bytes(payload)
