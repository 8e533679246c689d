"""router against Linux's forwarding, with 1 to 60,000 routes.

Packets of 60 bytes go to as many addresses as there are routes, one in each, in an order at random, from one host to another, on
one CPU. The routes lie strewn over a third of all IPv4 addresses, six of ten of them /24, and lead to ten next hops at random.
Both routers know their neighbours for good, and Linux has no filter loaded.
"""

from __future__ import annotations

import contextlib
import random
import socket
import struct
from collections.abc import Iterator

from benchmarks import linux, programs
from benchmarks.bed import Bed, Flow
from benchmarks.compare import Effort, Goal, Table, Turn, compare
from benchmarks.router import LINUX, cube
from reconciler.kernel import netns, rtnl

HOPS = [f"10.0.2.{number}" for number in range(1, 11)]
SOURCE, TARGET = 26, 30  # where a frame has its addresses
SIZES = (1, 1_000, 60_000)
LENGTHS = (16, 18, 20, 22, 24, 24, 24, 24, 24, 24)
Routes = dict[tuple[int, int], str]
"""Next hops by network: address and length."""

# Of each packet another address, with the header's checksum that comes with it: Linux looks at it.
GENERATOR = """
struct target { u32 address, check; };
struct targets { struct target of[TARGETS]; };
BPF_TABLE("array", u32, struct targets, targets, 1);
int run(struct xdp_md *ctx) {
  u32 zero = 0, *into = (void *)(long)ctx->data, number = (u64)bpf_get_prandom_u32() * TARGETS >> 32;
  struct targets *all = targets.lookup(&zero);
  if (!all || number >= TARGETS || (void *)(into + WORDS) > (void *)(long)ctx->data_end)
    return XDP_DROP;
  STORES
  *(u16 *)((void *)into + 24) = all->of[number].check;
  *(u16 *)((void *)into + AT) = all->of[number].address;
  *(u16 *)((void *)into + AT + 2) = all->of[number].address >> 16;
  return bpf_redirect(OUT, 0);
}
"""


def run(effort: Effort) -> list[Table]:
    return [table(size, effort) for size in SIZES]


def table(size: int, effort: Effort) -> Table:
    packets, routes, targets = effort.amount(100_000), routes_of(size), targets_of(size)
    with contextlib.ExitStack() as stack:
        beds = [stack.enter_context(Bed(["h1", "h2"], subnets=True)) for _ in range(3)]
        for bed, hook in zip(beds, ("TC", "XDP_DRV"), strict=False):
            bed.apply({"cubes": [router(bed, hook, routes)]})
        of_linux(beds[2], routes)
        turns: dict[str, Turn] = {}
        for name, into, bed in zip(("router, TC", "router, XDP", LINUX), ("TC", "XDP", "TC"), beds, strict=True):
            turns[name] = stack.enter_context(flow(bed, into, targets)).turner(packets)
        goals = [Goal("router, TC", at_least=1.0), Goal("router, XDP", at_least=2.0)]
        return compare(f"{size:,} routes", turns, effort, against=LINUX, unit="ns a packet", goals=goals)


def routes_of(count: int) -> Routes:
    chance = random.Random(count)
    found: Routes = {}
    while len(found) < count:
        length = chance.choice(LENGTHS)
        found[chance.randrange(20 << 24, 100 << 24) >> 32 - length << 32 - length, length] = chance.choice(HOPS)
    return found


def targets_of(count: int) -> list[int]:
    """An address in each network."""
    chance = random.Random(-count)
    return [start + chance.randrange(1 << 32 - length) for start, length in routes_of(count)]


def words(network: tuple[int, int]) -> str:
    return f"{socket.inet_ntoa(network[0].to_bytes(4, 'big'))}/{network[1]}"


def router(bed: Bed, hook: str, routes: Routes) -> dict[str, object]:
    known = [{"address": hop, "interface": "h2", "mac": bed.mac("h2")} for hop in HOPS]
    listed = [{"network": words(network), "nexthop": hop} for network, hop in routes.items()]
    return cube(bed, hook) | {"arp-table": known, "route": listed}


def of_linux(bed: Bed, routes: Routes) -> None:
    linux.forwarding(bed)
    bed.run(*(f"ip neighbour replace {hop} lladdr {bed.mac('h2')} dev h2 nud permanent" for hop in HOPS))
    bed.feed("ip -batch -", "\n".join(f"route add {words(network)} via {hop}" for network, hop in routes.items()))


@contextlib.contextmanager
def flow(bed: Bed, into: str, targets: list[int], *, at: int = TARGET) -> Iterator[Flow]:
    """As the bed's, to all these addresses, or from them."""
    frame = bed.udp("h1", "h2")
    with contextlib.ExitStack() as stack:
        with netns.inside(bed.space("h2")):
            counter = programs.Counter(into, rtnl.links()["eth0"].index)
        stack.callback(counter.close)
        with netns.inside(bed.space("h1")):
            out = rtnl.links()["eth0"].index
        stores = "\n".join(f"into[{at}] = {word}u;" for at, (word,) in enumerate(struct.iter_unpack("<I", frame)))
        text = GENERATOR.replace("STORES", stores)
        rows = {"targets": b"".join(addressed(frame, target, at) for target in targets)}
        macros = {"TARGETS": len(targets), "WORDS": len(frame) // 4, "OUT": out, "AT": at}
        generator = stack.enter_context(programs.written(text, "XDP", rows, **macros))
        yield Flow(bed.space("h1"), generator, frame, counter)


def addressed(frame: bytes, target: int, at: int) -> bytes:
    """`struct target`: an address and the checksum of the frame's header with it, both as they stand in the frame."""
    address = target.to_bytes(4, "big")
    header = frame[14:24] + bytes(2) + (frame[26:30] + address if at == TARGET else address + frame[30:34])
    total = sum(struct.unpack("!10H", header)) % 0xFFFF
    return address + struct.pack("!HH", ~total & 0xFFFF, 0)
