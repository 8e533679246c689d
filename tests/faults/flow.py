"""A steady flow of numbered datagrams, and how many of them did not arrive.

    with Flow("h1", "h2", "10.0.0.2") as traffic:
        ...change something...
    assert traffic.lost == 0

Sender and receiver are sockets in the hosts' namespaces, served by a thread each; nothing else is started.
"""

from __future__ import annotations

import socket
import struct
import threading
import time

from reconciler.kernel import netns

_RCVBUFFORCE = 33  # SO_RCVBUFFORCE
_PORT = 9009
_GAP = 0.0005  # seconds from one datagram to the next
_LATE = 0.3  # seconds after the last one


class Flow:
    """From one namespace to an address in another. `listen=False`: nobody is there to receive."""

    def __init__(self, sender: str | None, receiver: str | None, address: str, *, port: int = _PORT, listen: bool = True) -> None:
        self.sent = 0
        self._seen: set[int] = set()
        self._address = (address, port)
        with netns.inside(receiver):
            self._there = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._there.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, 16 << 20)
        if listen:
            self._there.bind(("", port))
        self._there.settimeout(0.05)
        with netns.inside(sender):
            self._here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._done, self._last = threading.Event(), threading.Event()
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._send, self._receive)]

    @property
    def lost(self) -> int:
        return self.sent - len(self._seen)

    def __enter__(self) -> Flow:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._threads[0].join()
        deadline = time.monotonic() + _LATE
        while self.lost and time.monotonic() < deadline:
            time.sleep(0.005)
        self._last.set()
        self._threads[1].join()
        self._here.close()
        self._there.close()

    def _send(self) -> None:
        while not self._done.is_set():
            try:
                self._here.sendto(struct.pack("!Q", self.sent), self._address)
            except OSError:  # the way is gone: what could not even be sent is lost too
                pass
            self.sent += 1
            time.sleep(_GAP)

    def _receive(self) -> None:
        while not self._last.is_set():
            try:
                self._seen.add(struct.unpack("!Q", self._there.recv(64))[0])
            except (TimeoutError, OSError):
                continue
