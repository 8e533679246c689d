"""How fast packets go to Python and back: packets a second on one core, and the time that one takes.

    sudo python -m benchmarks.slowpath [--seconds 5] [--size 64] [--hook TC|XDP_SKB|XDP_DRV] [-o json]

Two hosts are joined by a cube that hands everything to its Python half, which sends it out of the other port. The agent's
loop has one CPU to itself, the hosts share the other. Throughput: h1 sends all it can, and what arrives at h2 is counted.
Latency: one packet at a time, 1000 a second, from h1's send to h2's receive.
"""
from __future__ import annotations

import argparse
import gc
import json
import os
import select
import signal
import socket
import statistics
import tempfile
import time
from pathlib import Path

from reconciler.agent.slowpath import TICK, SlowPaths
from reconciler.kernel import netns, rtnl
from tests.conformance.lab import HOOKS, Lab
from tests.services import Tree, rx

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


def agent(lab: Lab, report: int, cpu: int) -> None:
    """The agent's loop in a process of its own; says its counters when it is told to end."""
    os.sched_setaffinity(0, {cpu})
    slow = SlowPaths(lab.root, lab.options.services)
    slow.refresh()
    ending = []
    signal.signal(signal.SIGTERM, lambda *_: ending.append(1))
    os.write(report, b"ready\n")
    gc.freeze()
    due, began = time.monotonic(), time.process_time()
    while not ending:
        if select.select([slow], [], [], TICK)[0]:
            slow.drain()
        if time.monotonic() >= due:
            slow.tick()
            due = time.monotonic() + TICK
    os.write(report, json.dumps({**slow.counters(), "cpu": time.process_time() - began}).encode() + b"\n")
    os._exit(0)


def start(lab: Lab, cpu: int) -> tuple[int, int]:
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        agent(lab, writing, cpu)
    os.close(writing)
    assert os.read(reading, 64) == b"ready\n"
    return pid, reading


def finish(pid: int, reading: int) -> dict[str, float]:
    os.kill(pid, signal.SIGTERM)
    text = b""
    while piece := os.read(reading, 65536):
        text += piece
    os.waitpid(pid, 0)
    os.close(reading)
    return json.loads(text)


def opened(space: str, protocol: int = 0) -> socket.socket:
    with netns.inside(space):
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(protocol))
        made.bind(("eth0", protocol))
    return made


def throughput(lab: Lab, frame: bytes, seconds: float, cpu: int) -> dict[str, float]:
    """What one core takes of more than it can."""
    pid, reading = start(lab, cpu)
    out, there = opened(lab.space("h1")), lab.space("h2")
    before, began = received(there), time.monotonic()
    until, sent = began + seconds, 0
    while time.monotonic() < until:
        for _ in range(64):
            out.send(frame)
        sent += 64
    during = received(there) - before
    time.sleep(0.5)
    out.close()
    counts = finish(pid, reading)
    took = until - began
    return {
        "offered_per_second": round(sent / took), "delivered_per_second": round(during / took),
        "received": counts["received"], "injected": counts["injected"], "refused": counts["refused"], "lost": counts["lost"],
        "delivered": received(there) - before,
    }  # fmt: skip


def received(space: str) -> int:
    """Frames that have come to a host's eth0."""
    with netns.inside(space):
        for line in Path("/proc/thread-self/net/dev").read_text().splitlines():
            if line.strip().startswith("eth0:"):
                return int(line.split(":")[1].split()[1])
    raise LookupError("eth0")


def latency(lab: Lab, frame: bytes, seconds: float, cpu: int) -> dict[str, float]:
    """Microseconds from send to receive, one packet a millisecond."""
    pid, reading = start(lab, cpu)
    out, there = opened(lab.space("h1")), opened(lab.space("h2"), 0x88B5)
    times = []
    for number in range(int(seconds * 1000)):
        marked = frame[:14] + number.to_bytes(4, "big") + frame[18:]
        began = time.perf_counter_ns()
        out.send(marked)
        while select.select([there], [], [], 1.0)[0]:
            if there.recv(65536)[14:18] == marked[14:18]:
                times.append((time.perf_counter_ns() - began) / 1000)
                break
        time.sleep(max(0.0, 0.001 - (time.perf_counter_ns() - began) / 1e9))
    out.close()
    there.close()
    finish(pid, reading)
    cuts = statistics.quantiles(times, n=1000)
    said = {"median_us": cuts[499], "p99_us": cuts[989], "max_us": max(times)}
    return {"packets": len(times), **{name: round(value, 1) for name, value in said.items()}}


def measure(hook: str, size: int, seconds: float) -> dict[str, object]:
    """All figures for one kind of hook."""
    with tempfile.TemporaryDirectory() as directory:
        tree = Tree(Path(directory))
        tree.add("echo", [rx("return pcn_pkt_controller(ctx, md, 1);")], half=HALF)
        with Lab(SCENARIO, hook=hook) as lab:
            lab.options.services = tree.load()
            lab.apply()
            cpus = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(0, set(cpus[:-1]) or set(cpus))
            ends = [bytes.fromhex(rtnl.links(lab.space(host))["eth0"].mac.replace(":", "")) for host in ("h2", "h1")]
            frame = b"".join(ends) + ETHERTYPE + bytes(size - 14)
            try:
                fast = throughput(lab, frame, seconds, cpus[-1])
                return {"hook": hook, "size": size, **fast, **latency(lab, frame, seconds, cpus[-1])}
            finally:
                os.sched_setaffinity(0, set(cpus))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--size", type=int, action="append", help="bytes of a frame; can be repeated (64)")
    parser.add_argument("--hook", choices=HOOKS, action="append", help="can be repeated (all)")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    args = parser.parse_args()
    found = [measure(hook, size, args.seconds) for hook in args.hook or HOOKS for size in args.size or [64]]
    if args.output == "json":
        print(json.dumps(found, indent=2))
        return
    print(f"{'hook':<8} {'bytes':>5} {'offered/s':>10} {'there and back/s':>17} {'median us':>10} {'p99 us':>8} {'lost':>8}")
    for each in found:
        print(f"{each['hook']:<8} {each['size']:>5} {each['offered_per_second']:>10} {each['delivered_per_second']:>17} "
              f"{each['median_us']:>10} {each['p99_us']:>8} {each['lost']:>8}")  # fmt: skip


if __name__ == "__main__":
    main()
