"""What goes on while a firewall's rules change: many packets a second, and a connection that is used all the time.

    with Rate(lab, 100_000) as rate, Talk(lab) as talk:
        lab.apply()
    assert rate.lost() == 0
    assert talk.longest < 0.5

Both are of host h1 and the lab's own stack, in a FirewallLab.
"""
from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from reconciler.kernel import netns
from tests.services.firewall.frames import ipv4
from tests.services.firewall.lab import HOST, STACK, FirewallLab

PORT, TALK_PORT = 9, 80
_TOGETHER = 128  # frames that are sent with one call
_libc = ctypes.CDLL(None, use_errno=True)
MACS = bytes.fromhex("020000000002020000000001")


def datagram(source: str = HOST, *, port: int = PORT) -> bytes:
    """A frame from h1 to the stack whose checksums are right, so that the stack counts it."""
    sender, receiver = (int.from_bytes(socket.inet_aton(address), "big") for address in (source, STACK))
    return MACS + b"\x08\x00" + ipv4(17, sender, receiver, struct.pack("!HHHH", 4000, port, 26, 0) + bytes(18), None)


def counts_of_here() -> IO[str]:
    """What the kernel counts in this namespace; it may be read from another one."""
    return Path("/proc/thread-self/net/snmp").open(encoding="ascii")


def unclaimed(file: IO[str]) -> int:
    """Datagrams to ports that nobody listens at: the kernel counts each."""
    file.seek(0)
    names, values = (line.split() for line in file if line.startswith("Udp:"))
    return int(values[names.index("NoPorts")])


class _Message(ctypes.Structure):
    """struct mmsghdr with its padding, of which only the one part of the message is of interest."""

    _fields_ = (
        ("name", ctypes.c_void_p), ("name_size", ctypes.c_uint), ("parts", ctypes.c_void_p), ("part_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p), ("control_size", ctypes.c_size_t), ("flags", ctypes.c_size_t), ("sent", ctypes.c_size_t),
    )  # fmt: skip


class Burst:
    """Frames that leave with one sendmmsg; `frames` are buffers that may be written to between two sends."""

    def __init__(self, frames: Sequence[bytes]) -> None:
        self.frames = [ctypes.create_string_buffer(frame, len(frame)) for frame in frames]
        self._parts = [(ctypes.c_size_t * 2)(ctypes.addressof(frame), len(frame)) for frame in self.frames]  # struct iovec
        self._messages = (_Message * len(frames))(*(_Message(parts=ctypes.addressof(part), part_count=1) for part in self._parts))

    def send(self, sock: socket.socket) -> int:
        """How many were sent."""
        return max(0, int(_libc.sendmmsg(sock.fileno(), self._messages, len(self.frames), 0)))


def raw(space: str) -> socket.socket:
    """A socket for whole frames out of a host's eth0."""
    with netns.inside(space):
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        sock.bind(("eth0", 0))
    return sock


class Rate:
    """Datagrams from h1 to a port of the stack where nobody listens, so many a second until it is closed.

    A process of its own sends them, many with one call; what it missed for want of a CPU it makes up for.
    """

    def __init__(self, lab: FirewallLab, per_second: int) -> None:
        self._per_second = per_second
        self._sock, self._stack = raw(lab.space("h1")), counts_of_here()
        forked = multiprocessing.get_context("fork")
        self._sent, self._over, self._process = forked.Value("Q", 0), forked.Event(), forked.Process(target=self._run, daemon=True)

    def __enter__(self) -> Rate:
        self._before, self._began = unclaimed(self._stack), time.monotonic()
        self._process.start()
        return self

    def _run(self) -> None:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # where it sends, the kernel receives
        burst = Burst([datagram()] * _TOGETHER)
        while not self._over.wait(0.0005):
            while (time.monotonic() - self._began) * self._per_second - self.sent >= _TOGETHER and not self._over.is_set():
                self._sent.value += burst.send(self._sock)
                with contextlib.suppress(TimeoutError):  # a wire has room for 256: on a busy machine it takes a while
                    until(lambda: not self.lost(), 0.05, 0.0001)

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._process.join()
        self.seconds = time.monotonic() - self._began
        self._sock.close()
        deadline = time.monotonic() + 2
        while self.lost() and time.monotonic() < deadline:
            time.sleep(0.01)
        self._last = self.lost()
        self._stack.close()

    @property
    def sent(self) -> int:
        return int(self._sent.value)

    def lost(self) -> int:
        """Of those that were sent, how many have not arrived (yet)."""
        if self._stack.closed:
            return self._last
        return self.sent - (unclaimed(self._stack) - self._before)


class Talk:
    """One TCP connection from h1 to port 80 of the stack, on which a byte goes there and back, again and again. `longest`: the
    longest that one took, in seconds; infinite once the connection is broken."""

    def __init__(self, lab: FirewallLab) -> None:
        self.longest, self.turns = 0.0, 0
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((STACK, TALK_PORT))
            listener.listen()
            with netns.inside(lab.space("h1")):
                self._here = socket.create_connection((STACK, TALK_PORT), timeout=5)
            self._there, _ = listener.accept()
        self._there.settimeout(5)
        self._over, self._thread = threading.Event(), threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Talk:
        self._thread.start()
        return self

    def _run(self) -> None:
        while not self._over.wait(0.005):
            began = time.monotonic()
            try:
                self._here.send(b"?")
                answered = self._there.recv(1) and self._there.send(b"!") and self._here.recv(1)
            except OSError:
                answered = b""
            if not answered:
                self.longest = float("inf")
                return
            self.longest = max(self.longest, time.monotonic() - began)
            self.turns += 1

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._here.close()
        self._there.close()


def until(condition: Callable[[], bool], seconds: float, pause: float = 0.001) -> float:
    """Wait for it; gives how long it took. Raises TimeoutError."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            raise TimeoutError(f"not within {seconds} s")
        time.sleep(pause)
    return time.monotonic() - began

