"""Courses of connections at random, right and wrong, to see which of their packets two trackers take for what.

    course(random.Random(1), 4, port=2000)          # [(True, frame), ...]: packets from the client's side, or back

A frame's last four bytes are free: who sends it puts a mark there.
"""
from __future__ import annotations

import ipaddress
import random
import struct
from collections.abc import Callable

from tests.services.firewall.frames import ipv4, ipv6

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
CLIENT, SERVER = {4: "10.1.0.1", 6: "fd01::1"}, {4: "10.2.0.1", 6: "fd02::1"}
Sent = tuple[bool, bytes]
MARK = bytes(4)


def packet(family: int, proto: int, forwards: bool, body: bytes) -> bytes:
    head = bytes.fromhex("020000000099020000000098") + (b"\x08\x00" if family == 4 else b"\x86\xdd")
    ends = [int(ipaddress.ip_address(each[family])) for each in (CLIENT, SERVER)][:: 1 if forwards else -1]
    return head + (ipv4(proto, *ends, body, None) if family == 4 else ipv6(proto, *ends, body, None))


def course(rng: random.Random, family: int, port: int) -> list[Sent]:
    kind = rng.choice(("TCP", "TCP", "TCP", "TCP", "UDP", "ICMP"))
    return {"TCP": Tcp(rng, family, port).course, "UDP": lambda: udp(rng, family, port), "ICMP": lambda: icmp(rng, family, port)}[kind]()


def udp(rng: random.Random, family: int, port: int) -> list[Sent]:
    ways = [rng.random() < 0.6 for _ in range(rng.randint(1, 6))]
    return [(way, packet(family, 17, way, struct.pack("!HHHH", *((port, 53) if way else (53, port)), 12, 0) + MARK)) for way in ways]


def icmp(rng: random.Random, family: int, port: int) -> list[Sent]:
    """Questions, answers, and messages that are neither; but not neighbour discovery, which to Linux has no state at all."""
    kinds = (8, 0, 8, 0, 13, 14, 15, 16, 17, 18, 9, 10, 40) if family == 4 else (128, 129, 128, 129, 139, 140, 160)
    found = []
    for _ in range(rng.randint(1, 6)):
        way, kind = rng.random() < 0.6, rng.choice(kinds)
        found.append((way, packet(family, 1 if family == 4 else 58, way, struct.pack("!BBHHH", kind, 0, 0, port, 1) + MARK)))
    return found


class Tcp:
    """Both ends of a connection, as far as they would agree; what is wrong is wrong on purpose."""

    def __init__(self, rng: random.Random, family: int, port: int) -> None:
        self.rng, self.family, self.port = rng, family, port
        self.found: list[Sent] = []
        self.next = {way: rng.getrandbits(32) for way in (True, False)}
        self.window = {way: rng.choice((0, 100, 1024, 29200, 65535)) for way in (True, False)}
        self.last: dict[bool, int] = {way: self.next[way] for way in (True, False)}  # where the last data began

    def course(self) -> list[Sent]:
        rng = self.rng
        rng.choice((self.open, self.open, self.open, self.open, self.lost, self.together, self.middle, self.early))()
        steps: list[Callable[[], None]] = [
            self.data, self.data, self.data, self.acknowledge, self.acknowledge, self.again, self.beyond, self.stale, self.reset, self.reset,
            self.fin, self.fin, self.syn, self.syn_ack, self.unsent, self.blocks, self.keepalive, self.closed_window, self.over,
        ]  # fmt: skip
        for _ in range(rng.randint(1, 14)):
            rng.choice(steps)()
        return self.found

    def say(self, way: bool, flags: int, *, seq: int | None = None, ack: int | None = None, options: bytes = b"", size: int = 0,
            window: int | None = None) -> None:  # fmt: skip
        seq = self.next[way] if seq is None else seq
        ack = (self.next[not way] if ack is None else ack) if flags & ACK else 0
        ports = (self.port, 80) if way else (80, self.port)
        options += b"\1" * (-len(options) % 4)
        head = struct.pack("!HHIIBBHHH", *ports, seq % 2**32, ack % 2**32, (20 + len(options)) << 2, flags,
                           self.window[way] if window is None else window, 0, 0)  # fmt: skip
        self.found.append((way, packet(self.family, 6, way, head + options + bytes(size) + MARK)))  # the mark is data, too

    def moved(self, way: bool, size: int) -> None:
        self.last[way] = self.next[way]
        self.next[way] += size

    def way(self) -> bool:
        return self.rng.random() < 0.5

    def options(self) -> bytes:
        some = [b"\2\4\5\xb4", b"\4\2", b"\3\3" + bytes([self.rng.choice((0, 3, 7, 14, 200))]), b"\x08\x0a" + bytes(8), b"\1"]
        return b"".join(self.rng.sample(some, self.rng.randint(0, 5)))

    # A SYN's mark would be data: it is left out of what counts, as both trackers see the same.

    def first(self, way: bool, flags: int) -> None:
        self.say(way, flags, options=self.options())
        self.moved(way, 5)

    def open(self) -> None:
        self.first(True, SYN)
        self.first(False, SYN | ACK)
        self.say(True, ACK, size=self.rng.choice((0, 10)))
        self.moved(True, 4)

    def lost(self) -> None:
        """The SYN-ACK is, or the ACK: the client repeats itself, and with cookies the server begins anew."""
        self.first(True, SYN)
        self.first(False, SYN | ACK)
        self.say(True, SYN, seq=self.last[True], options=self.options())
        if self.way():
            self.next[False] = self.rng.getrandbits(32)
        self.first(False, SYN | ACK)
        self.say(True, ACK)
        self.moved(True, 4)

    def together(self) -> None:
        self.first(True, SYN)
        self.first(False, SYN)
        for way in self.rng.sample((True, False), 2):
            self.say(way, self.rng.choice((SYN | ACK, ACK)), seq=self.last[way])

    def middle(self) -> None:
        self.say(self.way(), self.rng.choice((ACK, ACK, PSH | ACK, FIN | ACK, RST | ACK)))

    def early(self) -> None:
        """The server's data overtake the client's ACK."""
        self.first(True, SYN)
        self.first(False, SYN | ACK)
        self.data(False)
        self.say(True, ACK)

    def data(self, way: bool | None = None) -> None:
        way = self.way() if way is None else way
        size = self.rng.choice((0, 1, 100, 1000))
        self.say(way, PSH | ACK, size=size)
        self.moved(way, size + 4)

    def acknowledge(self) -> None:
        way = self.way()
        self.say(way, ACK)
        self.moved(way, 4)

    def again(self) -> None:
        way = self.way()
        self.say(way, ACK, seq=self.last[way], size=max(0, min(1000, (self.next[way] - self.last[way]) % 2**32 - 4)))

    def beyond(self) -> None:
        way = self.way()
        self.say(way, ACK, seq=self.next[way] + self.rng.choice((1000, 60_000, 70_000, 2**30)), size=self.rng.choice((0, 1000)))

    def stale(self) -> None:
        way = self.way()
        self.say(way, ACK, seq=self.next[way] - self.rng.choice((2000, 70_000, 2**30)))

    def unsent(self) -> None:
        way = self.way()
        self.say(way, ACK, ack=self.next[not way] + self.rng.choice((1, 1000, 70_000, -70_000, -(2**30))))

    def reset(self) -> None:
        way = self.way()
        off = self.rng.choice((0, 0, 4, 100, 30_000, 70_000, -1, -100, 2**31 - 5, self.rng.getrandbits(32)))
        seq = 0 if self.rng.random() < 0.1 else self.next[way] + off
        self.say(way, self.rng.choice((RST, RST | ACK)), seq=seq, ack=self.rng.choice((0, self.next[not way])))

    def fin(self) -> None:
        way = self.way()
        if self.rng.random() < 0.3:
            self.say(way, FIN | ACK, seq=self.last[way])
            return
        self.say(way, FIN | ACK)
        self.moved(way, 5)

    def syn(self) -> None:
        way = self.way()
        if self.way():
            self.next[way] = self.rng.getrandbits(32)
        self.first(way, SYN)

    def syn_ack(self) -> None:
        way = self.way()
        if self.rng.random() < 0.3:
            self.next[way] = self.rng.getrandbits(32)
        self.first(way, SYN | ACK)

    def blocks(self) -> None:
        way, there = self.way(), self.next[True]
        there = self.next[not way]
        edges = [there + off for off in self.rng.sample((0, 10, 1000, 5000, -500, -100), 4)]
        options = struct.pack("!BB4I", 5, 18, *(edge % 2**32 for edge in edges))
        self.say(way, ACK, ack=there - self.rng.choice((0, 500)), options=self.rng.choice((b"", b"\1\1", b"\1\1\x08\x0a" + bytes(8))) + options)

    def keepalive(self) -> None:
        way = self.way()
        self.say(way, ACK, seq=self.next[way] - 1)

    def closed_window(self) -> None:
        way = self.way()
        self.window[way] = self.rng.choice((0, 1, 500, 65535))
        self.say(way, ACK)

    def over(self) -> None:
        """Both close, in order, and the ports are used again."""
        way = self.way()
        for this, flags in ((way, FIN | ACK), (not way, FIN | ACK), (way, ACK)):
            self.say(this, flags)
            self.moved(this, 5 if flags & FIN else 4)
        if self.way():
            self.next[way] = self.rng.getrandbits(32)
            self.open()
