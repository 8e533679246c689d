"""What must go on while pcn is exchanged: numbered packets, connections that are open, and questions that a slow path answers.

All sockets are opened in the hosts' namespaces. One thread sends and one receives, whatever the number of flows.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from reconciler.kernel import netns

_RCVBUFFORCE = 33  # SO_RCVBUFFORCE
_PORT = 9009
_PERIOD = 0.004  # seconds between two packets of a flow
_LATE = 2.0  # seconds that the last packets have; only what is lost is waited for as long


@dataclass
class Flow:
    """Numbered datagrams from one namespace to an address in another; or echo requests, of which the answers count."""

    name: str
    here: socket.socket
    there: socket.socket
    address: tuple[str, int]
    counts: Callable[[float], bool]  # whether a packet of that time was to arrive
    echo: bool = False
    sent: dict[int, float] = field(default_factory=dict)
    seen: set[int] = field(default_factory=set)

    def send(self, number: int) -> None:
        body = struct.pack("!Q", number)
        packet = _echo_request(number, body) if self.echo else body
        with contextlib.suppress(OSError):  # no way there, for a moment: it counts as lost
            self.here.sendto(packet, self.address)
        self.sent[number] = time.monotonic()

    def receive(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                packet = self.there.recv(2048)
                if not self.echo:
                    self.seen.add(struct.unpack("!Q", packet[:8])[0])
                elif packet[(packet[0] & 15) * 4] == 0:
                    self.seen.add(struct.unpack("!Q", packet[-8:])[0])

    def arrives(self, seconds: float) -> bool:
        """Whether all that was sent has arrived, waited for at most so long."""
        deadline = time.monotonic() + seconds
        while self.lost and time.monotonic() < deadline:
            self.receive()
            time.sleep(0.02)
        return not self.lost

    def close(self) -> None:
        self.here.close()
        self.there.close()

    @property
    def lost(self) -> list[int]:
        return [number for number in self.sent if number not in self.seen]


def udp(source: str, target: str, address: str, counts: Callable[[float], bool] = lambda _: True) -> Flow:
    here, there = _socket(source, socket.SOCK_DGRAM), _socket(target, socket.SOCK_DGRAM)
    there.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, 16 << 20)  # a busy machine shall not look like a lossy cube
    there.bind((address, _PORT))
    there.setblocking(False)
    return Flow(f"{source} -> {target}", here, there, (address, _PORT), counts)


def echo(source: str, address: str) -> Flow:
    with netns.inside(source):
        here = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    here.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, 16 << 20)
    here.setblocking(False)
    return Flow(f"{source} pings {address}", here, here, (address, 0), lambda _: True, echo=True)


class Traffic:
    """All flows, from `start` to `stop`. Counted is what was sent after `count`."""

    def __init__(self, flows: list[Flow]) -> None:
        self.flows = flows
        self._done, self._last = threading.Event(), threading.Event()
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._send, self._receive)]

    def start(self, patience: float = 15.0) -> None:
        """Until a packet of each flow has arrived: what the first ones wait for is not what is counted."""
        for thread in self._threads:
            thread.start()
        deadline = time.monotonic() + patience
        while any(not flow.seen for flow in self.flows):
            silent = [flow.name for flow in self.flows if not flow.seen]
            assert time.monotonic() < deadline, f"nothing arrives from the start: {', '.join(silent)}"
            time.sleep(0.02)
        time.sleep(0.1)
        self._began = time.monotonic()

    def stop(self) -> None:
        self._done.set()
        self._threads[0].join()
        deadline = time.monotonic() + _LATE
        while self.losses() and time.monotonic() < deadline:
            time.sleep(0.02)
        self._last.set()
        self._threads[1].join()

    def close(self) -> None:
        if not self._last.is_set() and self._threads[0].is_alive():
            self.stop()
        for flow in self.flows:
            flow.close()

    def losses(self) -> list[str]:
        """What did not arrive, flow by flow, and when that began."""
        found = []
        for flow in self.flows:
            sent = [(number, when) for number, when in list(flow.sent.items()) if when >= self._began]
            lost = [when for number, when in sent if number not in flow.seen and flow.counts(when)]
            if lost:
                first, last = lost[0] - self._began, lost[-1] - self._began
                found.append(f"packets lost: {flow.name}: {len(lost)} of {len(sent)}, from {first:.2f} s to {last:.2f} s")
        return found

    def _send(self) -> None:
        number, due = 0, time.monotonic()
        while not self._done.is_set():
            for flow in self.flows:
                if not flow.echo or number % 8 == 0:  # a limit on echo requests is no loss
                    flow.send(number)
            number += 1
            due = max(due + _PERIOD, time.monotonic() - _PERIOD)  # what was missed is not made up for in a burst
            time.sleep(max(0.0, due - time.monotonic()))

    def _receive(self) -> None:
        with selectors.DefaultSelector() as ready:
            for flow in self.flows:
                ready.register(flow.there, selectors.EVENT_READ, flow)
            while not self._last.is_set():
                for key, _ in ready.select(0.05):
                    key.data.receive()


class Connection:
    """A TCP connection from one namespace to another, which is kept open."""

    def __init__(self, source: str, target: str, address: str, port: int) -> None:
        self.name = f"{source} -> {target}:{port}"
        with _socket(target, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, port))
            listener.listen()
            listener.settimeout(10)
            self._here = _socket(source, socket.SOCK_STREAM)
            self._here.settimeout(10)
            self._here.connect((address, port))
            self._there, _ = listener.accept()
        self._there.settimeout(10)
        self._number = 0
        assert self.works(), f"{self.name} does not work from the start"

    def works(self) -> bool:
        """Whether it carries something new to and fro."""
        self._number += 1
        question = struct.pack("!Q", self._number) * 64
        try:
            for sender, receiver in ((self._here, self._there), (self._there, self._here)):
                sender.sendall(question)
                got = b""
                while len(got) < len(question) and (part := receiver.recv(len(question) - len(got))):
                    got += part
                if got != question:
                    return False
        except OSError:
            return False
        return True

    def close(self) -> None:
        self._here.close()
        self._there.close()


def _socket(space: str, kind: socket.SocketKind) -> socket.socket:
    with netns.inside(space):
        return socket.socket(socket.AF_INET, kind)


def _echo_request(number: int, body: bytes) -> bytes:
    from tests.lib.packets import checksum

    head = struct.pack("!HH", 0x7063, number & 0xFFFF)
    return struct.pack("!BBH", 8, 0, checksum(struct.pack("!BBH", 8, 0, 0) + head + body)) + head + body
