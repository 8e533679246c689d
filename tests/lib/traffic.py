"""Numbered frames, sent all the while something else happens, and counted one by one where they arrive.

    with Census(lab, ["h2", "h3"]) as census, Flood(lab, "h1") as flood:
        lab.apply()
    assert census.missing("h2", flood) == []

A frame is of the ethertype for local experiments, so no stack answers it, and carries its number. A Census is exact: it keeps
all copies that arrive, also those that are meant for somebody else, and has room for more than any test sends.
"""
from __future__ import annotations

import itertools
import select
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterable
from types import TracebackType

from reconciler.kernel import netns
from tests.lib.lab import Lab

ETHERTYPE = 0x88B5
BROADCAST = "ff:ff:ff:ff:ff:ff"
_SO_RCVBUFFORCE = 33
_ROOM = 64 << 20  # bytes
_streams = itertools.count(1)


def numbered(source: str, target: str, stream: int, number: int, *, size: int = 60, tag: int | None = None) -> bytes:
    """A frame of `size` bytes from and to these addresses; `tag`: with this VLAN."""
    vlan = b"" if tag is None else struct.pack("!HH", 0x8100, tag)
    head = bytes.fromhex((target + source).replace(":", "")) + vlan + struct.pack("!HII", ETHERTYPE, stream, number)
    return head.ljust(size, b"\0")


def send_numbered(lab: Lab, host: str, target: str = BROADCAST, *, count: int = 20, source: str | None = None, tag: int | None = None,
                  size: int = 60) -> tuple[int, int]:  # fmt: skip
    """A stream of so many frames, sent at a gentle pace; gives the stream's number and how many."""
    stream, source = next(_streams), source or lab.mac(host)
    with netns.inside(lab.space(host)), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind(("eth0", 0))
        for number in range(count):
            sock.send(numbered(source, target, stream, number, size=size, tag=tag))
            time.sleep(0.0005)
    return stream, count


class Flood:
    """Frames from a host for as long as the block runs, at about `rate` a second; afterwards `sent` says how many.

    The default rate is well below what makes a veth's queue of 256 frames overflow on a busy machine.
    """

    def __init__(self, lab: Lab, host: str, target: str = BROADCAST, *, source: str | None = None, rate: int = 1500) -> None:
        self.stream, self.sent = next(_streams), 0
        self._source, self._target, self._pause = source or lab.mac(host), target, 1 / rate
        with netns.inside(lab.space(host)):
            self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self._sock.bind(("eth0", 0))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._over.is_set():
            self._sock.send(numbered(self._source, self._target, self.stream, self.sent))
            self.sent += 1
            time.sleep(self._pause)

    def __enter__(self) -> Flood:
        self._thread.start()
        self.pass_by(5)
        return self

    def pass_by(self, count: int) -> int:
        """Wait until so many more frames were sent; gives the number of the next one."""
        until = self.sent + count
        while self.sent < until and self._thread.is_alive():
            time.sleep(0.001)
        return self.sent

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.pass_by(5)
        self._over.set()
        self._thread.join()
        self._sock.close()


class Census:
    """Every copy of every numbered frame that arrives at some hosts, from the moment this is made."""

    def __init__(self, lab: Lab, hosts: Iterable[str]) -> None:
        self._socks = {host: _listen(lab.space(host)) for host in hosts}
        self._found: dict[str, list[tuple[int, int]]] = {host: [] for host in self._socks}

    def __enter__(self) -> Census:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.collect()
        finally:
            for sock in self._socks.values():
                sock.close()

    def collect(self, quiet: float = 0.15) -> None:
        """Take in what has arrived, until nothing has come for `quiet` seconds. Leaving the block does it too."""
        hosts = {sock: host for host, sock in self._socks.items()}
        while ready := select.select(list(hosts), [], [], quiet)[0]:
            for sock in ready:
                self._found[hosts[sock]].append(_number(sock.recv(2048)))

    def copies(self, host: str, stream: int) -> Counter[int]:
        """How often each frame of a stream arrived."""
        return Counter(number for found, number in self._found[host] if found == stream)

    def order(self, host: str, stream: int) -> list[int]:
        return [number for found, number in self._found[host] if found == stream]


def _listen(space: str) -> socket.socket:
    with netns.inside(space):
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM)
        sock.bind(("eth0", ETHERTYPE))  # one ethertype: what the host itself sends is not among it
    return sock


def _number(frame: bytes) -> tuple[int, int]:
    at = 18 if frame[12:14] == b"\x81\x00" else 14
    stream, number = struct.unpack_from("!II", frame, at)
    return stream, number


def exactly_once(census: Census, host: str, flood: Flood) -> str:
    """'' if each frame of a flood arrived once at a host; else what is wrong, in words."""
    return amiss(census.copies(host, flood.stream), range(flood.sent))


def amiss(copies: Counter[int], wanted: Iterable[int]) -> str:
    """'' if these are the frames that arrived, each once; else what is wrong, in words."""
    expected = set(wanted)
    kinds = {"missing": sorted(expected - set(copies)), "not wanted": sorted(set(copies) - expected),
             "more than once": sorted(number for number, count in copies.items() if count > 1)}
    return "; ".join(f"{len(found)} {what}, as {found[:5]}" for what, found in kinds.items() if found)
