"""ddosmitigator against a list in iptables and a set in nftables.

1,000 listed sources in front of a host that forwards. *Dropped*: all packets are from one listed address. *Passed*: none is, and
each goes on through Linux's forwarding, which is the same for all and most of the time. iptables has a rule for each address (the
one that matches is in the middle), nftables one set; both before connection tracking, and the set also at the netdev's own hook.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping

from benchmarks import linux, machine
from benchmarks.bed import Bed, Flow
from benchmarks.compare import Effort, Goal, Table, Turn, compare

LISTED = [f"198.18.{number // 250}.{number % 250 + 1}" for number in range(1000)]
SET = "nft set"


def cube(hook: str) -> Callable[[Bed], None]:
    listed = [{"ip": address} for address in LISTED]
    guard = {"name": "guard", "service-name": "ddosmitigator", "type": hook, "loglevel": "OFF", "blacklist-src": listed}
    return lambda bed: bed.apply({"cubes": [guard], "attachments": [{"netdev": "h1", "tcubes": ["guard"]}]}) and None


FILTERS: dict[str, Callable[[Bed], None]] = {
    "ddosmitigator, TC": cube("TC"),
    "ddosmitigator, XDP": cube("XDP_DRV"),
    SET: lambda bed: linux.nft_list(bed, LISTED),
    "nft set at ingress": lambda bed: linux.nft_list(bed, LISTED, ingress="h1"),
    "iptables": lambda bed: linux.iptables_list(bed, LISTED),
}
SLOW = {"iptables": 10}  # how many times fewer packets it is given


def run(effort: Effort) -> list[Table]:
    ahead = Goal("ddosmitigator, TC", at_least=1.0)
    return [
        table("Dropped", LISTED[500], FILTERS, drops, effort, [ahead, Goal("ddosmitigator, XDP", at_least=2.0)]),
        table("Passed", "", {**FILTERS, "no filter": lambda _: None}, Flow.turner, effort, [ahead]),
    ]


def table(
    title: str,
    origin: str,
    filters: Mapping[str, Callable[[Bed], None]],
    turner: Callable[[Flow, int], Turn],
    effort: Effort,
    goals: list[Goal],
) -> Table:
    turns = {}
    with contextlib.ExitStack() as stack:
        for name, prepare in filters.items():
            bed = stack.enter_context(Bed(["h1", "h2"], subnets=True))
            linux.forwarding(bed)
            prepare(bed)
            flow = stack.enter_context(bed.flow("h1", "h2", bed.udp("h1", "h2", origin=origin), into="TC"))
            turns[name] = turner(flow, effort.amount(100_000 // SLOW.get(name, 1)))
        return compare(title, turns, effort, against=SET, unit="ns a packet", goals=goals)


def drops(flow: Flow, packets: int) -> Turn:
    """A turn that must let nothing through."""

    def turn() -> float:
        began = machine.spent()
        if flow.send(packets):
            raise RuntimeError("packets of a listed source arrived")
        return (machine.spent() - began) / packets

    return turn
