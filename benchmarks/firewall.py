"""The firewall against iptables and nftables.

All forward the same packets from one host to another, in beds that are made alike. Rules ask for source, UDP and destination
port, or only for UDP and port, and drop; no packet matches one, so all of them count. (A rule with a source costs a linear
filter less: most often it is done with after the source.) Two ways to forward are compared. *Kernel*: the filter stands before,
or in, the kernel's own IPv4 forwarding, which takes most of the time whatever the filter is. *Router*: the firewall cube is on
a port of a router cube, and packets do not meet the kernel's stack: this is what a topology of cubes is for. The packets are
UDP frames of 60 bytes, put onto the first host's wire and counted at the second's, on one CPU. *A bare redirect* is an XDP
program that does nothing else, and so the most that anything could reach in this bed.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from benchmarks.bed import Bed, Flow
from benchmarks.compare import Effort, Goal, Row, Table, compare
from benchmarks.firewall_peers import HOSTS, OTHERS, Bare, Cubes, Filter, Rules

SIZES = (10, 100, 1_000, 10_000, 100_000)
GOALS = {1_000: 25.0, 10_000: 200.0}  # times iptables
TURN_NS = 40_000_000
LINEAR_NS = 40  # about what a rule costs where each is asked: so many packets fit in a turn
PCN = {
    "pcn TC, kernel": ("TC", False), "pcn XDP, kernel": ("XDP_DRV", False),
    "pcn TC, router": ("TC", True), "pcn XDP, router": ("XDP_DRV", True),
}  # fmt: skip
NOTHING, BARE = "no filter, kernel", "a bare redirect, XDP"
SET, LEGACY = "nft, a set", "iptables-legacy"
BEST = "pcn XDP, router"


@dataclass
class Contender:
    what: Cubes | Filter | Bare
    turn: Callable[[], float]
    load: float
    kilobytes: int


Found = dict[int, dict[str, Contender]]
"""Contenders by how many rules they have."""


def run(effort: Effort) -> list[Table]:
    sizes = SIZES[:3] if effort.quick else SIZES
    effort = effort.at_most(11)
    with contextlib.ExitStack() as stack:
        found = {count: _contenders(stack, Rules(count, sources=True)) for count in sizes}
        tables = [table for count in sizes for table in _rates(f"{count:,} rules", count, found[count], effort)]
        tables += [_growth(name, found, effort) for name in ("pcn TC, router", BEST)]
        tables += [_loads(found), _changes(found, effort), _memory(found)]
    for count in set(sizes) & set(GOALS):
        with contextlib.ExitStack() as stack:
            ports = _contenders(stack, Rules(count, sources=False))
            tables += _rates(f"{count:,} rules without a source", count, ports, effort)
    return tables


def _contenders(stack: contextlib.ExitStack, rules: Rules) -> dict[str, Contender]:
    found = {}
    for name in (NOTHING, BARE, *OTHERS, *PCN):
        bed = stack.enter_context(Bed(HOSTS, subnets=True))
        kind, routes = PCN.get(name, ("XDP", True) if name == BARE else ("TC", False))
        what: Cubes | Filter | Bare = Filter(bed, name if name in OTHERS else None, rules)
        if name == BARE:
            what = Bare(bed, stack)
        elif name in PCN:
            what = Cubes(bed, kind, routes, rules)
        before = kernel_memory()
        load = what.load()
        used = kernel_memory() - before
        into = "XDP" if routes and kind != "TC" else "TC"
        flow = stack.enter_context(bed.flow(*HOSTS, bed.udp(*HOSTS), into=into))
        linear = name in OTHERS and name != SET
        packets = max(100, TURN_NS // (1000 + (LINEAR_NS * rules.count if linear else 0)))
        found[name] = Contender(what, partial(_rate, flow, packets), load, used)
    return found


def _rate(flow: Flow, packets: int) -> float:
    return 1e9 / flow.turn(packets)


def _rates(title: str, count: int, found: dict[str, Contender], effort: Effort) -> list[Table]:
    """Against iptables, and the same turns against nftables' set."""
    goals = [Goal(BEST, at_least=GOALS[count])] if count in GOALS else []
    turns = {name: each.turn for name, each in found.items()}
    table = compare(title, turns, effort, against=LEGACY, unit="packets a second", goals=goals)
    base = table.row(SET).turns
    rows = (Row(row.name, row.turns, tuple(mine / its for mine, its in zip(row.turns, base, strict=True))) for row in table.rows)
    goal = Goal(BEST, at_least=1.2)
    return [table, replace(table, title=f"{title}: the same turns", against=SET, rows=tuple(rows), goals=(goal,))]


def _growth(name: str, found: Found, effort: Effort) -> Table:
    turns = {f"{count:,} rules": each[name].turn for count, each in found.items()}
    turns[f"{SET}, 10 rules"] = found[10][SET].turn
    goals = [Goal("10,000 rules", at_least=0.7)] if 10_000 in found else []
    return compare(f"{name}: what more rules cost", turns, effort, against="10 rules", unit="packets a second", goals=goals)


def _loads(found: Found) -> Table:
    note = "pcn's is from the document to the verified kernel, in a process that runs; the others' is their command's."
    return _table("Loading all rules", "seconds", {name: (each.load,) for name, each in _filters(found)}, note)


def _changes(found: Found, effort: Effort) -> Table:
    names = (*OTHERS, BEST)
    turns = {
        f"{name}, {count:,}": tuple(1e3 * found[count][name].what.change() for _ in range(2 if effort.quick else 3))
        for count in found for name in names
    }  # fmt: skip
    return _table("One more rule at the top", "ms", turns, "pcn's is from the whole new document to the verified kernel.")


def _memory(found: Found) -> Table:
    note = "By how much the kernel's Slab, VmallocUsed and Percpu grew, give or take what else went on; connections take 28 MB."
    return _table("Kernel memory", "MB", {name: (each.kilobytes / 1024,) for name, each in _filters(found)}, note)


def _filters(found: Found) -> Iterator[tuple[str, Contender]]:
    named = ((name, count, each) for count, some in found.items() for name, each in some.items())
    return ((f"{name}, {count:,}", each) for name, count, each in named if name not in (NOTHING, BARE))


def _table(title: str, unit: str, turns: dict[str, tuple[float, ...]], note: str) -> Table:
    return Table(title, unit, tuple(Row(name, some) for name, some in turns.items()), note=note)


def kernel_memory() -> int:
    """KiB that the kernel uses for itself, once what it frees later is freed."""
    time.sleep(0.2)
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    said = {name: int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines)}
    return said["Slab"] + said["VmallocUsed"] + said["Percpu"]
