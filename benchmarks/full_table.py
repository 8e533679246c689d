"""A router with 1,000,000 routes, loaded, replaced whole, edited and emptied while packets pass.

Packets of 60 bytes go to 1,000,000 addresses in turn, as fast as one CPU carries them, and the documents are applied on another.
Each packet says which address it is for and when it was made; the receiver looks up in a table of the model's which next
hops it may have come by: before an apply those of the routes that are in force, during it those of the new ones as well, and
after it these alone. The model is a search for the longest prefix in a dictionary. *Longest way*: from the generator to the
receiver, the batch of 64 that packets are sent in included. In *nothing applied* a document is read on the other CPU and nothing
is written: what a packet waits for there is the machine's.
"""

from __future__ import annotations

import contextlib
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from benchmarks import programs, router, routes
from benchmarks.bed import Bed, Flow
from benchmarks.compare import Effort, Goal, Row, Table
from benchmarks.routes import IPV4, Routes
from benchmarks.swap import Load, overflows
from reconciler.document import Document, collector_paused
from reconciler.document.incremental_parse import reparse
from reconciler.document.load import parse
from reconciler.engine.apply import apply
from reconciler.kernel import bpf, maps, netns, rtnl

COUNT, EDITS = 1_000_000, 3
LATE_MS = 1.0
DEFAULT = (0, 0)
_NUMBER, _MADE = 44, 48  # where a packet says which target it is for, and when it was made
_SEEN = struct.Struct("=QQQQ")  # struct seen

GENERATOR = """
struct target { u16 check, address[2]; };
BPF_TABLE("array", u32, struct target, targets, TARGETS);
BPF_TABLE("array", u32, u32, place, 1);
int run(struct xdp_md *ctx) {
  u32 zero = 0, *into = (void *)(long)ctx->data, *next = place.lookup(&zero);
  if (!next || (void *)(into + 15) > (void *)(long)ctx->data_end)
    return XDP_DROP;
  u32 number = *next < TARGETS ? *next : 0;
  *next = number + 1;
  struct target *target = targets.lookup(&number);
  if (!target)
    return XDP_DROP;
  STORES
  *(u16 *)((void *)into + 24) = target->check;
  *(u16 *)((void *)into + 30) = target->address[0];
  *(u16 *)((void *)into + 32) = target->address[1];
  into[11] = number;
  *(u64 *)(into + 12) = bpf_ktime_get_ns();
  return bpf_redirect(OUT, 0);
}
"""
RECEIVER = """
struct seen { u64 right, wrong, longest, late; };
BPF_TABLE("array", u32, u16, allowed, TARGETS);
BPF_TABLE("array", u32, struct seen, seen, 1);
int run(struct CONTEXT *ctx) {
  u32 zero = 0, *from = (void *)(long)ctx->data;
  struct seen *all = seen.lookup(&zero);
  if (!all || (void *)(from + 15) > (void *)(long)ctx->data_end)
    return DROP;
  u32 number = from[11];
  u16 *hops = allowed.lookup(&number);
  if (hops && *hops >> (*((u8 *)from + 5) & 15) & 1)
    all->right++;
  else
    all->wrong++;
  u64 way = bpf_ktime_get_ns() - *(u64 *)(from + 12);
  if (way > all->longest)
    all->longest = way;
  if (way > LATE)
    all->late++;
  return DROP;
}
"""


@dataclass
class Phase:
    """`sent` to `late` are packets."""

    name: str
    seconds: float
    sent: int
    lost: int
    wrong: int
    late: int
    longest_ms: float


class Receiver:
    """Holds each packet against the model. `value` is the number of all, as a counter's."""

    def __init__(self, module: Any) -> None:
        self._fds = {name: module[name.encode()].map_fd for name in ("allowed", "seen")}
        self._specs = {name: maps.info(fd).spec for name, fd in self._fds.items()}
        self._hops: list[int] = []

    def allow(self, hops: list[int]) -> None:
        """`hops`: bits of the next hops by which packets to each target may come."""
        others = (number for number, bits in enumerate(hops) if not self._hops or self._hops[number] != bits)
        rows = {struct.pack("=I", number): struct.pack("=H", hops[number]) for number in others}
        maps.update_many(self._fds["allowed"], self._specs["allowed"], rows)
        self._hops = hops

    def seen(self) -> tuple[int, int, int, int]:
        found = maps.lookup(self._fds["seen"], self._specs["seen"], bytes(4))
        right, wrong, longest, late = _SEEN.unpack(found or bytes(_SEEN.size))
        return right, wrong, longest, late

    def begin(self) -> None:
        """What was late so far is forgotten."""
        maps.update(self._fds["seen"], bytes(4), _SEEN.pack(*self.seen()[:2], 0, 0))

    def value(self) -> int:
        return sum(self.seen()[:2])


def run(effort: Effort) -> list[Table]:
    count = effort.amount(COUNT)
    return [table for hook in ("TC", "XDP") for table in tables(hook, count, phases(hook, count))]


def tables(hook: str, count: int, found: list[Phase]) -> list[Table]:
    title = f"{count:,} routes, {hook}"
    packets = {
        "sent": sum(phase.sent for phase in found),
        "lost": sum(phase.lost for phase in found),
        "by a wrong next hop": sum(phase.wrong for phase in found),
    }
    note = "; ".join(f"{phase.name}: {phase.late:,} of {phase.sent:,} packets took over {LATE_MS:g} ms" for phase in found) + "."
    zero = tuple(Goal(name, at_most=0, of="value") for name in ("lost", "by a wrong next hop"))
    return [
        Table(f"{title}: packets", "packets", tuple(Row(name, (float(value),)) for name, value in packets.items()), goals=zero),
        Table(f"{title}: longest way", "milliseconds", tuple(Row(each.name, (each.longest_ms,)) for each in found), note=note),
        Table(f"{title}: time until it is verified", "seconds", tuple(Row(each.name, (each.seconds,)) for each in found)),
    ]


@dataclass
class World:
    """What is applied, what the model says of it, and who watches."""

    bed: Bed
    flow: Flow
    receiver: Receiver
    targets: list[int]
    head: str
    hops: list[int] = field(default_factory=list)
    document: Document | None = None
    found: list[Phase] = field(default_factory=list)

    def change(self, name: str, wanted: Routes, *, edit: bool = False) -> None:
        """`edit`: the document is the last one but for what was edited, as an agent has it."""
        text, hops = self.head + lines(wanted), [1 << number for number in hops_of(wanted, self.targets)]
        self.receiver.allow([old | new for old, new in zip(self.hops or hops, hops, strict=True)])

        def work() -> None:
            known = reparse(self.document, text) if edit and self.document is not None else None
            self.document = known or parse(text, "bench")[0]
            with netns.inside(self.bed.middle), collector_paused():
                apply([self.document], self.bed.options)

        self.watch(name, work) if self.hops else work()
        self.receiver.allow(hops)
        self.hops = hops

    def watch(self, name: str, work: Callable[[], object]) -> None:
        over, before = overflows(self.bed), self.receiver.seen()
        self.receiver.begin()
        with Load(self.flow) as load:
            time.sleep(0.5)
            began = time.perf_counter()
            work()
            seconds = time.perf_counter() - began
            time.sleep(0.5)
        time.sleep(0.1)
        right, wrong, longest, late = self.receiver.seen()
        came = right + wrong - sum(before[:2])
        lost = load.sent - came - (overflows(self.bed) - over)
        self.found.append(Phase(name, seconds, load.sent, lost, wrong - before[1], late, longest / 1e6))
        print(self.found[-1], flush=True)


def phases(hook: str, count: int) -> list[Phase]:
    one, other = routes.routes_of(count), routes.routes_of(count + 1)
    targets = [*routes.targets_of(one)[: count // 2], *routes.targets_of(other)[: count // 2]]
    nothing: Routes = {DEFAULT: IPV4.hops[0]}
    with contextlib.ExitStack() as stack:
        bed = stack.enter_context(Bed(["h1", "h2"], subnets=True))
        receiver = stack.enter_context(receiving(bed, hook, len(targets)))
        flow = stack.enter_context(sending(bed, targets, receiver))
        world = World(bed, flow, receiver, targets, head_of(bed, hook))
        world.change("", nothing)
        world.watch("nothing applied", lambda: parse(world.head + lines(nothing | one), "bench"))
        world.change("all loaded", nothing | one)
        world.change("all replaced", now := nothing | other)
        for number in range(EDITS):
            network = list(other)[number * len(other) // EDITS]
            hop = next(hop for hop in IPV4.hops if hop != now[network])
            world.change(f"one changed ({number + 1})", now := now | {network: hop}, edit=True)
        world.change("all removed", nothing)
        return world.found


def head_of(bed: Bed, hook: str) -> str:
    """A document up to its routes. The next hops are stations of one host, told apart by the last byte of their MACs."""
    gateway = router.cube(bed, {"TC": "TC", "XDP": "XDP_DRV"}[hook])
    macs = {hop: f"02:00:00:00:02:{number:02x}" for number, hop in enumerate(IPV4.hops, 1)}
    known = [{"address": hop, "interface": "h2", "mac": mac} for hop, mac in macs.items()]
    leaves = "".join(f"    {name}: {value}\n" for name, value in (gateway | {"arp-table": known}).items())
    start = "apiVersion: polycube.network/v1\nkind: Topology\nmetadata: {name: bench}\nspec:\n  cubes:\n"
    return f"{start}  - {leaves[4:]}    route:\n"


def lines(wanted: Routes) -> str:
    return "".join(f"    - {{network: {routes.words(network)}, nexthop: {hop}}}\n" for network, hop in wanted.items())


def hops_of(wanted: Routes, targets: list[int]) -> list[int]:
    """The model: of each target the number of its next hop, by the longest prefix that it is in."""
    lengths = sorted({length for _, length in wanted}, reverse=True)
    numbers = {hop: number for number, hop in enumerate(IPV4.hops, 1)}

    def of(target: int) -> int:
        tried = ((target >> 32 - length << 32 - length, length) for length in lengths)
        return next(numbers[wanted[network]] for network in tried if network in wanted)

    return [of(target) for target in targets]


@contextlib.contextmanager
def receiving(bed: Bed, kind: str, count: int) -> Iterator[Receiver]:
    context, drop = {"TC": ("__sk_buff", 2), "XDP": ("xdp_md", 1)}[kind]
    text = RECEIVER.replace("CONTEXT", context)
    macros = {"TARGETS": count, "DROP": drop, "LATE": int(LATE_MS * 1e6)}
    with programs.compiled(text, **macros) as module:
        program = module.load_func(b"run", {"TC": bpf.SCHED_CLS, "XDP": bpf.XDP}[kind]).fd
        with contextlib.ExitStack() as stack:
            with netns.inside(bed.space("h2")):
                stack.enter_context(programs.attached(program, kind, rtnl.links()["eth0"].index))
            yield Receiver(module)


@contextlib.contextmanager
def sending(bed: Bed, targets: list[int], receiver: Any) -> Iterator[Flow]:
    frame = bed.udp("h1", "h2")
    with netns.inside(bed.space("h1")):
        out = rtnl.links()["eth0"].index
    stores = "\n".join(f"into[{at}] = {word}u;" for at, (word,) in enumerate(struct.iter_unpack("<I", frame)))
    rows = {"targets": [routes.addressed(frame, target, routes.TARGET) for target in targets]}
    with programs.written(GENERATOR.replace("STORES", stores), "XDP", rows, TARGETS=len(targets), OUT=out) as program:
        yield Flow(bed.space("h1"), program, frame, receiver)
