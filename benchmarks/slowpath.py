"""How fast packets go to Python and back.

Two hosts are joined by a cube that hands everything to its Python half, which sends it out of the other port. *There and back*
is how many packets one core takes: all that it spends on a packet is counted, from the ring over Python and back into the
kernel to the other host's netdev; only putting the packet in is the sender's. *More than it can take* has a sender on another
core that never pauses, and counts by the clock what arrives. *Time* is that of one packet at a time, a thousand a second, from
h1's send to h2's receive, by the clock too. *A service elsewhere* has its Python half in another process, which is handed
packets over a unix socket.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import machine
from benchmarks.compare import Effort, Goal, Row, Table, compare
from reconciler.kernel import netns, rtnl
from reconciler.service.registry import Services
from reconciler.slowpath.dispatch import TICK
from tests.lib.lab import HOOKS, Lab
from tests.lib.services import Tree, rx
from tests.lib.slowpaths import SlowPaths

SCENARIO = """
hosts: {h1: 10.0.0.1/24, h2: 10.0.0.2/24}
cubes:
  - {name: c1, service-name: echo, ports: [{name: p1, peer: v1}, {name: p2, peer: v2}]}
"""
HALF = """
class SlowPath:
    def __init__(self, cube):
        self.cube, self.other = cube, {'p1': 'p2', 'p2': 'p1'}
    def packet_in(self, packet, md, reason):
        self.cube.send_packet_out(packet, self.other[md.port], 'EGRESS')
"""
ETHERTYPE = b"\x88\xb5"
SIZE = 64  # bytes of a frame
BURST = 500  # frames, which the ring has room for
UNIT, AIM = "packets a second", 20_000


def run(effort: Effort) -> list[Table]:
    fast, overload, times = [], [], []
    for hook in HOOKS:  # one after the other: each lab is a network namespace that this process is in
        with prepared(hook) as lab:
            with there_and_back(lab, effort.amount(40) * BURST) as turn:
                fast += compare(hook, {hook: turn}, effort, against=hook, unit=UNIT).rows
            overload.append(Row(hook, tuple(overloaded(lab, 2 * effort.scale) for _ in range(effort.rounds))))
            found = [one_by_one(lab, effort.amount(2000, 100)) for _ in range(effort.rounds)]
            times += [Row(f"{hook}, median", tuple(one for one, _ in found)), Row(f"{hook}, p99", tuple(two for _, two in found))]
    with elsewhere() as lab:
        name = "TC, a service elsewhere"
        overload.append(Row(name, tuple(overloaded(lab, 2 * effort.scale) for _ in range(effort.rounds))))
        found = [one_by_one(lab, effort.amount(2000, 100)) for _ in range(effort.rounds)]
        times += [Row(f"{name}, median", tuple(one for one, _ in found)), Row(f"{name}, p99", tuple(two for _, two in found))]
    goals = tuple(Goal(hook, at_least=AIM, of="value") for hook in HOOKS)
    return [
        Table("There and back", UNIT, tuple(Row(row.name, row.turns) for row in fast), goals=goals),
        Table("More than it can take", UNIT, tuple(overload)),
        Table("Time", "microseconds", tuple(times)),
    ]


@contextlib.contextmanager
def prepared(hook: str) -> Iterator[Lab]:
    with tempfile.TemporaryDirectory() as directory, Lab(SCENARIO, hook=hook) as lab:
        tree = Tree(Path(directory))
        tree.add("echo", [rx("return pcn_pkt_controller(ctx, md, 1);")], implementation=HALF)
        lab.options.services = tree.load()
        lab.apply()
        yield lab


@contextlib.contextmanager
def elsewhere() -> Iterator[Lab]:
    """The same half in a process that serves it over a unix socket."""
    with tempfile.TemporaryDirectory() as directory, Lab(SCENARIO, hook="TC") as lab:
        Tree(Path(directory)).add("echo", [rx("return pcn_pkt_controller(ctx, md, 1);")], implementation=HALF)
        command = [str(Path(sys.executable).parent / "pcn"), "serve-service", directory, "--only", "echo"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                assert server.stdout.readline().startswith("serving")
                lab.options.services = Services()
                lab.apply()
                yield lab
            finally:
                server.terminate()


@contextlib.contextmanager
def there_and_back(lab: Lab, packets: int) -> Iterator[Callable[[], float]]:
    """A turn: that many packets, a burst at a time; packets a second of the CPU that this process is bound to."""
    slow = SlowPaths(lab.root, lab.options.services)
    slow.refresh()
    frame, there = framed(lab), lab.space("h2")

    def turn() -> float:
        before, took = received(there), 0
        for _ in range(packets // BURST):
            for _ in range(BURST):
                out.send(frame)
            began = machine.spent()
            while select.select([slow], [], [], 0)[0]:
                slow.drain()
            took += machine.spent() - began
        arrived = received(there) - before
        if arrived < 0.99 * packets:
            raise RuntimeError(f"of {packets} packets {arrived} arrived")
        return arrived * 1e9 / took

    with contextlib.closing(slow), contextlib.closing(opened(lab.space("h1"))) as out:
        yield turn


def framed(lab: Lab) -> bytes:
    """From h1 to h2, and nobody's."""
    ends = [bytes.fromhex(rtnl.links(lab.space(host))["eth0"].mac.replace(":", "")) for host in ("h2", "h1")]
    return b"".join(ends) + ETHERTYPE + bytes(SIZE - 14)


def received(space: str) -> int:
    """Frames that have come to a host's eth0."""
    with netns.inside(space):
        for line in Path("/proc/thread-self/net/dev").read_text().splitlines():
            if line.strip().startswith("eth0:"):
                return int(line.split(":")[1].split()[1])
    raise LookupError("eth0")


def opened(space: str, protocol: int = 0) -> socket.socket:
    with netns.inside(space):
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(protocol))
        made.bind(("eth0", protocol))
    return made


# -- by the clock: the agent's loop has the last CPU, the hosts have the others ---------------------------------------------


def overloaded(lab: Lab, seconds: float) -> float:
    """Packets a second that arrive of more than one core can take."""
    frame, there = framed(lab), lab.space("h2")
    with agent(lab), contextlib.closing(opened(lab.space("h1"))) as out:
        before, began = received(there), time.monotonic()
        while time.monotonic() < began + seconds:
            for _ in range(64):
                out.send(frame)
        return (received(there) - before) / (time.monotonic() - began)


def one_by_one(lab: Lab, packets: int) -> tuple[float, float]:
    """Median and 99th percentile of the microseconds from send to receive, one packet a millisecond."""
    frame, times = framed(lab), []
    sending, receiving = opened(lab.space("h1")), opened(lab.space("h2"), 0x88B5)
    with agent(lab), contextlib.closing(sending) as out, contextlib.closing(receiving) as there:
        for number in range(packets):
            marked = frame[:14] + number.to_bytes(4, "big") + frame[18:]
            began = time.perf_counter_ns()
            out.send(marked)
            while select.select([there], [], [], 1.0)[0]:
                if there.recv(65536)[14:18] == marked[14:18]:
                    times.append((time.perf_counter_ns() - began) / 1000)
                    break
            time.sleep(max(0.0, 0.001 - (time.perf_counter_ns() - began) / 1e9))
    cuts = statistics.quantiles(times, n=100)
    return cuts[49], cuts[98]


@contextlib.contextmanager
def agent(lab: Lab) -> Iterator[None]:
    """The agent's loop in a process of its own, on the last CPU; this one keeps to the others meanwhile."""
    before = os.sched_getaffinity(0)
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.sched_setaffinity(0, {max(before)})
        serve(lab, writing)
    os.sched_setaffinity(0, before - {max(before)} or before)
    try:
        assert os.read(reading, 1) == b"!"
        yield
    finally:
        os.sched_setaffinity(0, before)
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
        os.close(reading)
        os.close(writing)


def serve(lab: Lab, ready: int) -> None:
    """As the agent does, until SIGTERM."""
    slow, due = SlowPaths(lab.root, lab.options.services), 0.0
    slow.refresh()
    os.write(ready, b"!")
    gc.freeze()
    while True:
        if select.select([slow], [], [], TICK)[0]:
            slow.drain()
        if time.monotonic() >= due:
            slow.tick()
            due = time.monotonic() + TICK
