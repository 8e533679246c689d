"""The firewall against iptables and nftables: packets a second, load time, and the time to change one rule.

    sudo .venv/bin/python -m benchmarks.firewall [--rules 10,100,1000,10000] [--rounds 5] [--most 100000] [-o json]

All forward the same packets, on one CPU: UDP frames are put onto a veth as if they had come over it
(BPF_F_TEST_XDP_LIVE_FRAMES), go through the kernel's IPv4 forwarding, and leave by an ifb, which drops them. Each
contender has a namespace of its own, and they take turns. Every rule is `src, UDP, dport -> DROP`, and no packet matches: all
rules count, and the default accepts. `nft set` says the same with one set of (address, port), which is the most that
nftables can do for rules of this shape.
"""
from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from reconciler.kernel import bpf, netns, programs, rtnl
from reconciler.kernel.bpffs import Bpffs
from tests.conformance.firewall_lab import FirewallLab
from tests.firewall_fuzz import ipv4
from tests.world import run_in

LIVE_FRAMES, LINK_CREATE, ATTACH_XDP = 1 << 1, 28, 37
PASS = struct.pack("<BBhi", 0xB7, 0, 0, 2) + struct.pack("<BBhi", 0x95, 0, 0, 0)
MAC = bytes.fromhex("020000000002")
ROW = (
    "{rules:>7} {contender:<13} {ns:>8} ns  {kpps:>6} kpps  {times:>7} x  load {load_s:>7} s  "
    "change {change_ms:>8} ms  {memory}"
)
UDP = struct.pack("!HHHH", 1000, 2000, 26, 0) + bytes(18)
FRAME = MAC + bytes.fromhex("020000000001") + b"\x08\x00" + ipv4(17, 0x0A000001, 0xC6120001, UDP, None)
SLOW = {"iptables": 30, "iptables-nft": 40, "nft": 40}  # nanoseconds a rule, about: how many packets a turn can take


def rule(number: int) -> tuple[str, int]:
    return f"10.{100 + (number >> 16)}.{number >> 8 & 255}.{number & 255}", 1 + number % 60_000


@dataclass
class Contender:
    """`space` None is where this process is. `program` is what its frames are put in by."""

    name: str
    space: str | None
    program: int
    index: int = 0
    change: Callable[[], object] = lambda: None
    load_seconds: float = 0.0
    change_seconds: float = 0.0
    turns: list[float] = field(default_factory=list)

    def run(self, packets: int) -> float:
        """Nanoseconds a packet."""
        with netns.inside(self.space) if self.space else contextlib.nullcontext():
            begun = time.perf_counter_ns()
            inject(self.program, self.index, packets)
            return (time.perf_counter_ns() - begun) / packets


def inject(program: int, index: int, packets: int) -> None:
    data = ctypes.create_string_buffer(FRAME, len(FRAME))
    context = ctypes.create_string_buffer(struct.pack("<IIIIII", 0, len(FRAME), 0, index, 0, 0), 24)
    attributes = ctypes.create_string_buffer(80)
    struct.pack_into("<IIIIQQIIIIQQIIII", attributes, 0, program, 0, len(FRAME), 0, ctypes.addressof(data), 0, packets, 0,
                     24, 0, ctypes.addressof(context), 0, LIVE_FRAMES, 0, 64, 0)  # fmt: skip
    bpf.bpf(bpf.PROG_TEST_RUN, attributes)


def prepare(space: str | None, device: str) -> int:
    """Forwarding from `device` to an ifb, in a namespace; gives the device's index. Nothing else is switched on."""
    for command in ("ip link add out0 type ifb", "ip link set out0 up arp off", "ip route add 198.18.0.0/15 dev out0",
                    f"ip link set {device} address 02:00:00:00:00:02", f"ip link set {device} up",
                    "sysctl -qw net.ipv4.ip_forward=1", "sysctl -qw net.ipv4.conf.all.rp_filter=0",
                    f"sysctl -qw net.ipv4.conf.{device}.rp_filter=0"):  # fmt: skip
        run_in(space, command.split())
    with netns.inside(space) if space else contextlib.nullcontext():
        index = rtnl.links()[device].index
        # a veth takes such frames only while it has an XDP program
        bpf.bpf(LINK_CREATE, struct.pack("<IIII", program_that_passes(), index, ATTACH_XDP, 0))
    return index


def program_that_passes() -> int:
    return programs.load(PASS, bpf.XDP, "pass")


# -- the contenders -----------------------------------------------------------------------------------------------------


def feed(space: str, argv: list[str], text: str) -> float:
    with netns.inside(space):
        begun = time.perf_counter()
        subprocess.run(argv, input=text, text=True, check=True, capture_output=True)
        return time.perf_counter() - begun


def iptables(flavour: str, count: int) -> tuple[list[str], str, list[str]]:
    lines = [f"-A FORWARD -s {source} -p udp --dport {port} -j DROP" for source, port in map(rule, range(count))]
    text = "\n".join(["*filter", ":FORWARD ACCEPT [0:0]", *lines, "COMMIT", ""])
    return [f"iptables-{flavour}-restore"], text, [f"iptables-{flavour}", "-I", "FORWARD", "1", "-s", "10.99.0.1", "-j", "DROP"]


def nft_linear(count: int) -> tuple[list[str], str, list[str]]:
    rules = "\n".join(f"ip saddr {source} udp dport {port} drop" for source, port in map(rule, range(count)))
    text = f"table ip t {{\n chain c {{\n type filter hook forward priority 0; policy accept;\n{rules}\n}}\n}}\n"
    return ["nft", "-f", "-"], text, ["nft", "insert", "rule", "ip", "t", "c", "ip", "saddr", "10.99.0.1", "drop"]


def nft_set(count: int) -> tuple[list[str], str, list[str]]:
    elements = ", ".join(f"{source} . {port}" for source, port in map(rule, range(count)))
    text = (f"table ip t {{\n set s {{\n type ipv4_addr . inet_service\n elements = {{ {elements} }}\n }}\n"
            "chain c {\n type filter hook forward priority 0; policy accept;\n ip saddr . udp dport @s drop\n }\n}\n")
    return ["nft", "-f", "-"], text, ["nft", "add", "element", "ip", "t", "s", "{ 10.99.0.1 . 7 }"]


OTHERS: dict[str, Callable[[int], tuple[list[str], str, list[str]]]] = {
    "iptables": lambda count: iptables("legacy", count),
    "iptables-nft": lambda count: iptables("nft", count),
    "nft": nft_linear,
    "nft set": nft_set,
}


def other(lab: FirewallLab, name: str, count: int) -> Contender:
    space = lab.world.namespace(name.replace(" ", "") or "none")
    lab.world.wire("w0", "w1", space, near_netns=space)
    index = prepare(space, "w0")
    found = Contender(name or "no filter", space, program_that_passes(), index)
    if name:
        argv, text, change = OTHERS[name](count)
        found.load_seconds = feed(space, argv, text)
        begun = time.perf_counter()
        run_in(space, change, timeout=120)
        found.change_seconds = time.perf_counter() - begun
    return found


def ours(lab: FirewallLab, count: int, program: int, index: int) -> Contender:
    found = Contender(f"pcn {lab.hook}", None, program, index)
    rules = [{"src": source, "l4proto": "UDP", "dport": port, "action": "DROP"} for source, port in map(rule, range(count))]
    lab.chain("INGRESS", *rules, default="ACCEPT")
    begun = time.perf_counter()
    lab.apply()
    found.load_seconds = time.perf_counter() - begun
    lab.chain("INGRESS", {"src": "10.99.0.1", "action": "DROP"}, *rules, default="ACCEPT")
    begun = time.perf_counter()
    lab.apply()
    found.change_seconds = time.perf_counter() - begun
    return found


def memory(lab: FirewallLab) -> int:
    """Bytes of the firewall's tables."""
    total, home = 0, Bpffs(lab.root)
    for name in home.names("cubes/fw/tables"):
        with home.opened(f"cubes/fw/tables/{name}") as fd, open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as info:
            total += next(int(line.split()[1]) for line in info if line.startswith("memlock"))
    return total


# -- a comparison -------------------------------------------------------------------------------------------------------


def compare(count: int, rounds: int, slowest: int) -> list[dict[str, Any]]:
    """One line for each contender. Linear ones are left out beyond `slowest` rules."""
    with FirewallLab(conntrack="OFF") as lab, contextlib.ExitStack() as stack:
        lab.both(default="ACCEPT")
        lab.apply()
        stack.callback(run_in, None, ["ip", "link", "del", "out0"], check=False)
        index = prepare(None, "v1")
        found = [ours(lab, count, program_that_passes(), index)]
        used = memory(lab)
        found += [other(lab, name, count) for name in ("", *OTHERS) if name in ("", "nft set") or count <= slowest]
        for _ in range(rounds):
            for contender in found:
                packets = min(400_000, max(2_000, 200_000_000 // (1000 + SLOW.get(contender.name, 0) * count)))
                contender.turns.append(contender.run(packets))
        stack.callback(lambda: [os.close(contender.program) for contender in found])
        mine = statistics.median(found[0].turns)
        return [
            {"rules": count, "contender": each.name, "ns": round(statistics.median(each.turns)), "best": round(min(each.turns)),
             "kpps": round(1e6 / statistics.median(each.turns)), "times": round(statistics.median(each.turns) / mine, 2),
             "load_s": round(each.load_seconds, 3), "change_ms": round(each.change_seconds * 1000, 1),
             "table_bytes": used if each is found[0] else None}
            for each in found
        ]  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rules", default="10,100,1000,10000,100000")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--most", type=int, default=10_000, help="rules up to which linear contenders take part")
    parser.add_argument("-o", choices=["text", "json"], default="text")
    args = parser.parse_args()
    lines = []
    for count in map(int, args.rules.split(",")):
        for line in compare(count, args.rounds, args.most):
            lines.append(line)
            if args.o == "text":
                memory = f"{line['table_bytes'] / 1e6:.1f} MB" if line["table_bytes"] else ""
                print(ROW.format(**line, memory=memory), flush=True)
    if args.o == "json":
        print(json.dumps(lines, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
