"""router against Linux's forwarding, with 1 to 1,000,000 routes.

Packets of 60 bytes (IPv6: 64) go to as many addresses as there are routes, one in each, in an order at random, from one host to
another, on one CPU. IPv4 routes lie strewn over a third of all addresses, six of ten of them /24; IPv6 routes over 2000::/3, half
of them /48. They lead to ten next hops at random. Both routers know their neighbours for good, and Linux has no filter loaded.
"""

from __future__ import annotations

import contextlib
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from benchmarks import linux, programs
from benchmarks.bed import Bed, Flow
from benchmarks.compare import Effort, Goal, Table, Turn, compare
from benchmarks.router import LINUX, cube
from reconciler.kernel import netns, rtnl

TO_STATION, FROM_STATION, SOURCE, TARGET, TARGET6 = 0, 6, 26, 30, 38  # where a frame has its addresses
HALVES = {TO_STATION: 3, FROM_STATION: 3, SOURCE: 2, TARGET: 2, TARGET6: 8}  # how many times two bytes they have
SIZES = (1, 10_000, 60_000, 100_000, 1_000_000)


@dataclass(frozen=True)
class Family:
    """`space`: first and last address of where its routes lie, `at`: where a frame has its target."""

    version: int
    bits: int
    space: tuple[int, int]
    lengths: tuple[int, ...]
    hops: tuple[str, ...]
    at: int


IPV4 = Family(4, 32, (20 << 24, 100 << 24), (16, 18, 20, 22, 24, 24, 24, 24, 24, 24),
              tuple(f"10.0.2.{number}" for number in range(1, 11)), TARGET)  # fmt: skip
IPV6 = Family(6, 128, (2 << 124, 4 << 124), (32, 36, 40, 44, 48, 48, 48, 48, 48, 64),
              tuple(f"fd00:2::{number}" for number in range(1, 11)), TARGET6)  # fmt: skip
Routes = dict[tuple[int, int], str]
"""Next hops by network: address and length."""

# Of each packet the next address, with the header's checksum that comes with it, which Linux looks at. They are gone through in a
# row, so that the generator waits for no memory.
GENERATOR = """
struct target { u16 check, address[HALVES]; };
BPF_TABLE("array", u32, struct target, targets, TARGETS);
BPF_TABLE("array", u32, u32, place, 1);
int run(struct xdp_md *ctx) {
  u32 zero = 0, *into = (void *)(long)ctx->data, *next = place.lookup(&zero);
  if (!next || (void *)(into + WORDS) > (void *)(long)ctx->data_end)
    return XDP_DROP;
  u32 number = *next < TARGETS ? *next : 0;
  *next = number + 1;
  struct target *target = targets.lookup(&number);
  if (!target)
    return XDP_DROP;
  STORES
  if (HALVES == 2)
    *(u16 *)((void *)into + 24) = target->check;
#pragma unroll
  for (int half = 0; half < HALVES; half++)
    *(u16 *)((void *)into + AT + 2 * half) = target->address[half];
  return bpf_redirect(OUT, 0);
}
"""


def run(effort: Effort) -> list[Table]:
    return [table(size, family, effort) for family in (IPV4, IPV6) for size in SIZES]


def table(size: int, family: Family, effort: Effort) -> Table:
    packets, routes = effort.amount(100_000), routes_of(size, family)
    targets = targets_of(routes, family)
    with contextlib.ExitStack() as stack:
        beds = [stack.enter_context(Bed(["h1", "h2"], subnets=True)) for _ in range(3)]
        for bed, hook in zip(beds, ("TC", "XDP_DRV"), strict=False):
            bed.apply({"cubes": [router(bed, hook, routes, family)]})
        of_linux(beds[2], routes, family)
        turns: dict[str, Turn] = {}
        for name, into, bed in zip(("router, TC", "router, XDP", LINUX), ("TC", "XDP", "TC"), beds, strict=True):
            turns[name] = stack.enter_context(flow(bed, into, targets, at=family.at)).turner(packets)
        goals = [Goal("router, TC", at_least=1.0), Goal("router, XDP", at_least=2.0)]
        title = f"{size:,} routes, IPv{family.version}"
        return compare(title, turns, effort, against=LINUX, unit="ns a packet", goals=goals)


def routes_of(count: int, family: Family = IPV4) -> Routes:
    chance, found = random.Random(count), Routes()
    while len(found) < count:
        length = chance.choice(family.lengths)
        rest = family.bits - length
        found[chance.randrange(*family.space) >> rest << rest, length] = chance.choice(family.hops)
    return found


def targets_of(routes: Routes, family: Family = IPV4) -> list[int]:
    """An address in each network."""
    chance = random.Random(-len(routes))
    return [start + chance.randrange(1 << family.bits - length) for start, length in routes]


def words(network: tuple[int, int], family: Family = IPV4) -> str:
    return f"{ip_address(network[0].to_bytes(family.bits // 8, 'big'))}/{network[1]}"


def router(bed: Bed, hook: str, routes: Routes, family: Family = IPV4) -> dict[str, object]:
    known = [{"address": hop, "interface": "h2", "mac": bed.mac("h2")} for hop in family.hops]
    listed = [{"network": words(network, family), "nexthop": hop} for network, hop in routes.items()]
    made: dict[str, Any] = cube(bed, hook) | {"arp-table": known, "route": listed}
    if family.version == 6:
        made["ports"] = [port | {"ipv6": f"fd00:{bed.number(port['peer'])}::fe/64"} for port in made["ports"]]
    return made


def of_linux(bed: Bed, routes: Routes, family: Family = IPV4) -> None:
    linux.forwarding(bed)
    if family.version == 6:
        linux.forwarding6(bed)
    bed.run(*(f"ip neighbour replace {hop} lladdr {bed.mac('h2')} dev h2 nud permanent" for hop in family.hops))
    bed.feed("ip -batch -", "\n".join(f"route add {words(network, family)} via {hop}" for network, hop in routes.items()))


@contextlib.contextmanager
def flow(
    bed: Bed, into: str, targets: list[int], *, at: int = TARGET, ends: tuple[str, str] = ("h1", "h2")
) -> Iterator[Flow]:
    """As the bed's, to all these addresses, or from them."""
    frame = bed.udp6(*ends) if at == TARGET6 else bed.udp(*ends)
    with contextlib.ExitStack() as stack:
        with netns.inside(bed.space(ends[1])):
            counter = programs.Counter(into, rtnl.links()["eth0"].index)
        stack.callback(counter.close)
        with netns.inside(bed.space(ends[0])):
            out = rtnl.links()["eth0"].index
        stores = "\n".join(f"into[{at}] = {word}u;" for at, (word,) in enumerate(struct.iter_unpack("<I", frame)))
        text = GENERATOR.replace("STORES", stores)
        rows = {"targets": [addressed(frame, target, at) for target in targets]}
        macros = {"TARGETS": len(targets), "WORDS": len(frame) // 4, "OUT": out, "AT": at, "HALVES": HALVES[at]}
        generator = stack.enter_context(programs.written(text, "XDP", rows, **macros))
        yield Flow(bed.space(ends[0]), generator, frame, counter)


def addressed(frame: bytes, target: int, at: int) -> bytes:
    """`struct target`: an address and the checksum of the frame's header with it, both as they stand in the frame."""
    if HALVES[at] != 2:
        return bytes(2) + target.to_bytes(2 * HALVES[at], "big")
    address = target.to_bytes(4, "big")
    header = frame[14:24] + bytes(2) + (frame[26:30] + address if at == TARGET else address + frame[30:34])
    total = sum(struct.unpack("!10H", header)) % 0xFFFF
    return struct.pack("!H", ~total & 0xFFFF) + address
