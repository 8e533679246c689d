"""A flood of SYNs from random sources at a firewall, and what others see of it meanwhile.

    with FirewallLab() as lab:
        found = flooded(lab, seconds=5)

Host h1 sends them, as fast as one process can and the wire carries; it also has connections to the lab's own stack, some old, and
a new one now and then. A veth whose end has an XDP program has room for 256 frames: were the flood to fill it while the CPU that empties
it does something else, the wire would lose what the connections send, before any firewall sees it.
"""
from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from reconciler.kernel import netns
from tests.services.firewall.frames import ipv4
from tests.services.firewall.lab import STACK, FirewallLab
from tests.services.firewall.rate import MACS, Burst, raw, until

PORT, IDLE = 80, 100
_SOURCES = 1 << 16  # beginnings that differ; twice what there is room for
_TOGETHER = 128


@dataclass(frozen=True)
class Outcome:
    """What the flood did. `new_seconds`: how long each new connection took, `refused` how many were not made in a second; `longest`: of
    the connection that was in use, the longest that a question took; `kept`: old ones that still answer; `sessions` that the
    firewall knows in the end."""

    syns: int
    seconds: float
    new_seconds: list[float]
    refused: int
    longest: float
    kept: int
    sessions: int


def syns() -> list[bytes]:
    rng, target, found = random.Random(1), int.from_bytes(socket.inet_aton(STACK), "big"), []
    for _ in range(_SOURCES):
        segment = struct.pack("!HHIIBBHHH", rng.getrandbits(16), PORT, rng.getrandbits(32), 0, 0x50, 2, 1024, 0, 0)
        found.append(MACS + b"\x08\x00" + ipv4(6, rng.getrandbits(32), target, segment, None))
    return found


@contextmanager
def flood(lab: FirewallLab) -> Iterator[multiprocessing.sharedctypes.Synchronized[int]]:
    """The block runs under it; gives how many were sent so far."""
    forked = multiprocessing.get_context("fork")
    sent, over = forked.Value("Q", 0), forked.Event()
    frames = syns()
    with raw(lab.space("h1")) as sock, Path("/proc/thread-self/net/dev").open(encoding="ascii") as wire:

        def run() -> None:
            os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
            bursts = [Burst(frames[start : start + _TOGETHER]) for start in range(0, len(frames), _TOGETHER)]
            while not over.is_set():
                for burst in bursts:
                    wanted = _received(wire) + _TOGETHER
                    sent.value += burst.send(sock)
                    with contextlib.suppress(TimeoutError):  # in case some are lost all the same
                        until(partial(_has_received, wire, wanted), 0.05, 0.0001)

        process = forked.Process(target=run, daemon=True)
        process.start()
        try:
            while not sent.value:
                time.sleep(0.01)
            yield sent
        finally:
            over.set()
            process.join()


def _has_received(wire: IO[str], frames: int) -> bool:
    return _received(wire) >= frames


def _received(wire: IO[str]) -> int:
    """Frames that came in by v1."""
    wire.seek(0)
    return next(int(line.split()[2]) for line in wire if line.lstrip().startswith("v1:"))


def flooded(lab: FirewallLab, seconds: float, beginnings: int = 0) -> Outcome:
    """With rules that let new connections in to one port. It lasts longer, ten times at most, if there are not so many beginnings by then."""
    lab.chain("INGRESS", {"l4proto": "TCP", "dport": PORT, "conntrack": "NEW"})
    lab.chain("EGRESS")
    lab.apply()
    with socket.create_server((STACK, PORT), backlog=IDLE) as listener:
        old = [_connect(lab, listener, 5.0) for _ in range(IDLE)]
        assert all(old)
        news: list[float] = []
        refused, longest = 0, 0.0
        with flood(lab) as sent:
            before, began = sent.value, time.monotonic()
            while (now := time.monotonic()) - began < (seconds if sent.value - before > beginnings else 10 * seconds):
                longest = max(longest, _asked(old[0]))
                pair = _connect(lab, listener, 1.0)
                news, refused = ([*news, time.monotonic() - now], refused) if pair else (news, refused + 1)
                for sock in pair or ():
                    sock.close()
                time.sleep(0.05)
            syns, took = sent.value - before, time.monotonic() - began
        kept = sum(_asked(pair) < float("inf") for pair in old)
        for sock in (sock for pair in old for sock in pair or ()):
            sock.close()
    return Outcome(syns, took, news, refused, longest, kept, len(lab.sessions()))


Pair = tuple[socket.socket, socket.socket]


def _connect(lab: FirewallLab, listener: socket.socket, seconds: float) -> Pair | None:
    with netns.inside(lab.space("h1")):
        here = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    here.settimeout(seconds)
    listener.settimeout(seconds)
    try:
        here.connect((STACK, PORT))
        there, _ = listener.accept()
    except OSError:
        here.close()
        return None
    there.settimeout(5)
    here.settimeout(5)
    return here, there


def _asked(pair: Pair | None) -> float:
    """Seconds that a question and its answer take on a connection; infinite if there is none."""
    assert pair is not None
    here, there = pair
    began = time.monotonic()
    try:
        here.send(b"?")
        answered = there.recv(1) and there.send(b"!") and here.recv(1)
    except OSError:
        answered = b""
    return time.monotonic() - began if answered else float("inf")
