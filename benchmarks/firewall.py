"""The firewall against iptables and nftables: packets a second, load time, and the time to change one rule.

    sudo .venv/bin/python -m benchmarks.firewall [--rules 10,100,1000,10000] [--rounds 5] [--most 10000] [--shape pair] [-o json]

All forward the same packets, on one CPU: UDP frames are put onto a veth as if they had come over it
(BPF_F_TEST_XDP_LIVE_FRAMES), go through the kernel's IPv4 forwarding, and leave by an ifb, which drops them. Each
contender has a namespace of its own (pcn has one for both hooks), and they take turns. Every rule is `UDP, dport -> DROP`,
or with --shape pair `src, UDP, dport -> DROP`, and no packet matches: all rules count, and the default accepts. `nft set` says
the same with one set, which is the most that nftables can do for rules of these shapes.
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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from reconciler.kernel import bpf, maps, netns, programs, rtnl
from reconciler.kernel.bpffs import Bpffs
from tests.conformance.lab import Lab
from tests.firewall_frames import ipv4
from tests.world import run_in

LIVE_FRAMES, LINK_CREATE, ATTACH_XDP = 1 << 1, 28, 37
MAC = bytes.fromhex("020000000002")
ROW = (
    "{rules:>7} {contender:<13} {ns:>8} ns  {kpps:>6} kpps  {times:>7} x  load {load_s:>7} s  "
    "change {change_ms:>8} ms  {memory}"
)
UDP = struct.pack("!HHHH", 1000, 2000, 26, 0) + bytes(18)


def frame() -> bytes:
    packet = bytearray(ipv4(17, 0x0A000001, 0xC6120001, struct.pack("!HHHH", 1000, 2000, 26, 0) + bytes(18), None))
    total = sum(struct.unpack("!10H", packet[:20]))
    struct.pack_into("!H", packet, 10, ~(total % 0xFFFF) & 0xFFFF)
    return MAC + bytes.fromhex("020000000001") + b"\x08\x00" + bytes(packet)


FRAME = frame()
SLOW = {"iptables": 30, "iptables-nft": 40, "nft": 40}  # nanoseconds a rule, about: how many packets a turn can take


LAB = """
hosts: {h1: 10.0.0.1/24, h2: 10.0.1.1/24}
cubes:
  - {name: fw, service-name: firewall, type: TC, conntrack: "OFF"}
  - {name: fx, service-name: firewall, type: XDP_DRV, conntrack: "OFF"}
attachments: [{netdev: v1, tcubes: [fw]}, {netdev: v2, tcubes: [fx]}]
"""


def rule(number: int, shape: str = "pair") -> tuple[str, int]:
    """Source ('' for any) and destination port; the packet has port 2000."""
    source = f"10.{100 + (number >> 16)}.{number >> 8 & 255}.{number & 255}" if shape == "pair" or number >= 60_000 else ""
    return source, 2001 + number % 60_000


def options(source: str) -> str:
    return f" -s {source}" if source else ""


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
            before, begun = forwarded(), time.perf_counter_ns()
            inject(self.program, self.index, packets)
            taken = time.perf_counter_ns() - begun
            assert forwarded() - before == packets, f"{self.name}: not all packets were forwarded"
            return taken / packets


def forwarded() -> int:
    """IPv4 packets that this namespace has forwarded."""
    with open("/proc/thread-self/net/snmp", encoding="ascii") as file:
        names, values = (line.split() for line in file if line.startswith("Ip:"))
    return int(values[names.index("ForwDatagrams")])


def inject(program: int, index: int, packets: int) -> None:
    data = ctypes.create_string_buffer(FRAME, len(FRAME))
    context = ctypes.create_string_buffer(struct.pack("<IIIIII", 0, len(FRAME), 0, index, 0, 0), 24)
    attributes = ctypes.create_string_buffer(80)
    struct.pack_into("<IIIIQQIIIIQQIIII", attributes, 0, program, 0, len(FRAME), 0, ctypes.addressof(data), 0, packets, 0,
                     24, 0, ctypes.addressof(context), 0, LIVE_FRAMES, 0, 64, 0)  # fmt: skip
    bpf.bpf(bpf.PROG_TEST_RUN, attributes)


def prepare(space: str | None, device: str, *, program: bool) -> int:
    """Forwarding from `device` to an ifb, in a namespace; gives the device's index. Nothing else is switched on."""
    run_in(space, ["ip", "link", "add", "out0", "type", "ifb"], check=False)
    for command in ( "ip link set out0 up arp off", "ip route replace 198.18.0.0/15 dev out0",
                    f"ip link set {device} address 02:00:00:00:00:02", f"ip link set {device} up",
                    "sysctl -qw net.ipv4.ip_forward=1", "sysctl -qw net.ipv4.conf.all.rp_filter=0",
                    f"sysctl -qw net.ipv4.conf.{device}.rp_filter=0"):  # fmt: skip
        run_in(space, command.split())
    with netns.inside(space) if space else contextlib.nullcontext():
        index = rtnl.links()[device].index
        if program:  # a veth takes such frames only while it has an XDP program
            bpf.bpf(LINK_CREATE, struct.pack("<IIII", program_that_writes(), index, ATTACH_XDP, 0))
    return index


def program_that_writes(then: int | None = None) -> int:
    """An XDP program that makes the frame anew (the kernel puts the same pages in again, as forwarding left them), and lets it
    pass, or goes on in another program."""

    def insn(code: int, dst: int = 0, src: int = 0, offset: int = 0, immediate: int = 0) -> bytes:
        return struct.pack("<BBhi", code, src << 4 | dst, offset, immediate)

    words = struct.unpack_from("<9i", FRAME.ljust(60, b"\0"))
    array = maps.create(maps.MapSpec(maps.PROG_ARRAY, 4, 4, 1), "then")
    if then is not None:
        maps.update(array, bytes(4), struct.pack("<I", then))
    stores = b"".join(insn(0x62, 2, 0, 4 * number, word) for number, word in enumerate(words))
    code = (
        insn(0xBF, 6, 1) + insn(0x61, 2, 1, 0) + insn(0x61, 3, 1, 4)  # r6 = ctx, r2 = data, r3 = data_end
        + insn(0xBF, 4, 2) + insn(0x07, 4, immediate=36) + insn(0x2D, 4, 3, 9) + stores  # if r2 + 36 <= r3, nine words
        + insn(0xBF, 1, 6) + insn(0x18, 2, 1, 0, array) + insn(0) + insn(0xB7, 3) + insn(0x85, immediate=12)  # tail call
        + insn(0xB7, 0, immediate=2) + insn(0x95)
    )  # fmt: skip
    return programs.load(code, bpf.XDP, "writes")


# -- the contenders -----------------------------------------------------------------------------------------------------


def rules(count: int, shape: str) -> Iterator[tuple[str, int]]:
    return (rule(number, shape) for number in range(count))


def feed(space: str, argv: list[str], text: str) -> float:
    with netns.inside(space):
        begun = time.perf_counter()
        subprocess.run(argv, input=text, text=True, check=True, capture_output=True)
        return time.perf_counter() - begun


Words = tuple[list[str], str, list[str]]
"""The command that loads rules, what it reads, and the command that adds one at the top."""


def iptables(flavour: str, count: int, shape: str) -> Words:
    lines = [f"-A FORWARD{options(source)} -p udp --dport {port} -j DROP" for source, port in rules(count, shape)]
    text = "\n".join(["*filter", ":FORWARD ACCEPT [0:0]", *lines, "COMMIT", ""])
    return [f"iptables-{flavour}-restore"], text, [f"iptables-{flavour}", "-I", "FORWARD", "1", "-s", "10.99.0.1", "-j", "DROP"]


def nft_linear(count: int, shape: str) -> Words:
    addresses = ((f"ip saddr {source} " if source else "", port) for source, port in rules(count, shape))
    lines = "\n".join(f"{address}udp dport {port} drop" for address, port in addresses)
    text = f"table ip t {{\n chain c {{\n type filter hook forward priority 0; policy accept;\n{lines}\n}}\n}}\n"
    return ["nft", "-f", "-"], text, ["nft", "insert", "rule", "ip", "t", "c", "ip", "saddr", "10.99.0.1", "drop"]


def nft_set(count: int, shape: str) -> Words:
    if shape == "pair":
        elements = ", ".join(f"{source} . {port}" for source, port in rules(count, shape))
        kind, match, more = "ipv4_addr . inet_service", "ip saddr . udp dport", "{ 10.99.0.1 . 7 }"
    else:
        elements = ", ".join(str(port) for _, port in rules(count, shape))
        kind, match, more = "inet_service", "udp dport", "{ 7 }"
    text = (f"table ip t {{\n set s {{\n type {kind}\n elements = {{ {elements} }}\n }}\n"
            f"chain c {{\n type filter hook forward priority 0; policy accept;\n {match} @s drop\n }}\n}}\n")  # fmt: skip
    return ["nft", "-f", "-"], text, ["nft", "add", "element", "ip", "t", "s", more]


OTHERS: dict[str, Callable[[int, str], Words]] = {
    "iptables": lambda count, shape: iptables("legacy", count, shape),
    "iptables-nft": lambda count, shape: iptables("nft", count, shape),
    "nft": nft_linear,
    "nft set": nft_set,
}


def other(lab: Lab, name: str, count: int, shape: str) -> Contender:
    space = lab.world.namespace(name.replace(" ", "") or "none")
    lab.world.wire("w0", "w1", space, near_netns=space)
    index = prepare(space, "w0", program=True)
    found = Contender(name or "no filter", space, program_that_writes(), index)
    if name:
        argv, text, change = OTHERS[name](count, shape)
        found.load_seconds = feed(space, argv, text)
        begun = time.perf_counter()
        run_in(space, change, timeout=120)
        found.change_seconds = time.perf_counter() - begun
    return found


def ours(lab: Lab, cube: str, count: int, shape: str) -> Contender:
    """TC: the frames come up from a program that lets all pass; XDP: the firewall itself is that program."""
    entries = [{"l4proto": "UDP", "dport": port, "action": "DROP"} | ({"src": source} if source else {})
               for source, port in rules(count, shape)]  # fmt: skip
    found = Contender(f"pcn {lab.cube(cube)['type'][:3].rstrip('_')}", None, -1)
    found.index = prepare(None, "v1" if cube == "fw" else "v2", program=cube == "fw")
    for more in ([], [{"src": "10.99.0.1", "action": "DROP"}]):
        some = [{"id": number, **entry} for number, entry in enumerate([*more, *entries])]
        lab.cube(cube)["chain"] = [{"name": "INGRESS", "rule": some}]
        begun = time.perf_counter()
        lab.apply()
        seconds = time.perf_counter() - begun
        found.load_seconds, found.change_seconds = found.load_seconds or seconds, seconds
    found.program = program_that_writes(None if cube == "fw" else Bpffs(lab.root).open("cubes/fx/in/0_wire"))
    return found


def memory(lab: Lab, cube: str) -> int:
    """Bytes of a firewall's tables."""
    total, home = 0, Bpffs(lab.root)
    for name in home.names(f"cubes/{cube}/tables"):
        with home.opened(f"cubes/{cube}/tables/{name}") as fd, open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as info:
            total += next(int(line.split()[1]) for line in info if line.startswith("memlock"))
    return total


# -- a comparison -------------------------------------------------------------------------------------------------------


def compare(count: int, rounds: int, slowest: int, shape: str) -> list[dict[str, Any]]:
    """One line for each contender. Linear ones are left out beyond `slowest` rules."""
    with Lab(LAB) as lab, contextlib.ExitStack() as stack:
        lab.apply()
        stack.callback(run_in, None, ["ip", "link", "del", "out0"], check=False)
        found = [ours(lab, cube, count, shape) for cube in ("fw", "fx")]
        used = {found[0].name: memory(lab, "fw"), found[1].name: memory(lab, "fx")}
        found += [other(lab, name, count, shape) for name in ("", *OTHERS) if name in ("", "nft set") or count <= slowest]
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
             "table_bytes": used.get(each.name)}
            for each in found
        ]  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rules", default="10,100,1000,10000,100000")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--most", type=int, default=10_000, help="rules up to which linear contenders take part")
    parser.add_argument("--shape", choices=["dport", "pair"], default="dport")
    parser.add_argument("-o", choices=["text", "json"], default="text")
    args = parser.parse_args()
    lines = []
    for count in map(int, args.rules.split(",")):
        for line in compare(count, args.rounds, args.most, args.shape):
            lines.append(line)
            if args.o == "text":
                memory = f"{line['table_bytes'] / 1e6:.1f} MB" if line["table_bytes"] else ""
                print(ROW.format(**line, memory=memory), flush=True)
    if args.o == "json":
        print(json.dumps(lines, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
