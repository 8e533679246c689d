"""ddosmitigator against a list in iptables and a set in nftables.

Listed sources in front of a host that forwards. *Dropped*: all packets are from listed addresses. *Passed*: none is, and each
goes on through Linux's forwarding, which is the same for all and most of the time. iptables has a rule for each address (the
one that matches is in the middle), nftables one set; both before connection tracking, and the set also at the netdev's own hook.
Of 1,000 addresses packets come from one. Of 60,000, strewn over a third of all, they come from any at random (dropped), or from
as many others (passed).
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address

from benchmarks import linux, machine, routes
from benchmarks.bed import Bed, Flow
from benchmarks.compare import Effort, Goal, Table, Turn, compare

LISTED = [f"198.18.{number // 250}.{number % 250 + 1}" for number in range(1000)]
MANY = 60_000
SET = "nft set"
Filters = Mapping[str, Callable[[Bed], None]]


def cube(hook: str, addresses: list[str]) -> Callable[[Bed], None]:
    listed = [{"ip": address} for address in addresses]
    guard = {"name": "guard", "service-name": "ddosmitigator", "type": hook, "loglevel": "OFF", "blacklist-src": listed}
    return lambda bed: bed.apply({"cubes": [guard], "attachments": [{"netdev": "h1", "tcubes": ["guard"]}]}) and None


def filters(addresses: list[str]) -> dict[str, Callable[[Bed], None]]:
    return {
        "ddosmitigator, TC": cube("TC", addresses),
        "ddosmitigator, XDP": cube("XDP_DRV", addresses),
        SET: lambda bed: linux.nft_list(bed, addresses),
        "nft set at ingress": lambda bed: linux.nft_list(bed, addresses, ingress="h1"),
    }


IPTABLES: Filters = {"iptables": lambda bed: linux.iptables_list(bed, LISTED)}
NONE: Filters = {"no filter": lambda _: None}
SLOW = {"iptables": 10}  # how many times fewer packets it is given


def run(effort: Effort) -> list[Table]:
    some = strewn(2 * MANY)
    listed, others = some[:MANY], some[MANY:]
    few, many = {**filters(LISTED), **IPTABLES}, filters([str(IPv4Address(address)) for address in listed])
    ahead, twice = Goal("ddosmitigator, TC", at_least=1.0), Goal("ddosmitigator, XDP", at_least=2.0)
    more = Goal("ddosmitigator, TC", at_least=1.2)
    return [
        table("Dropped", from_one(LISTED[500]), few, drops, effort, [ahead, twice]),
        table("Passed", from_one(""), {**few, **NONE}, Flow.turner, effort, [ahead]),
        table("Dropped, 60,000 addresses", from_all(listed), many, drops, effort, [ahead, twice]),
        table("Passed, 60,000 addresses", from_all(others), {**many, **NONE}, Flow.turner, effort, [more]),
    ]


def strewn(count: int) -> list[int]:
    return random.Random(count).sample(range(20 << 24, 100 << 24), count)


Sources = Callable[[Bed], contextlib.AbstractContextManager[Flow]]


def from_one(origin: str) -> Sources:
    return lambda bed: bed.flow("h1", "h2", bed.udp("h1", "h2", origin=origin), into="TC")


def from_all(addresses: list[int]) -> Sources:
    return lambda bed: routes.flow(bed, "TC", addresses, at=routes.SOURCE)


def table(
    title: str, sources: Sources, filters: Filters, turner: Callable[[Flow, int], Turn], effort: Effort, goals: list[Goal]
) -> Table:
    turns = {}
    with contextlib.ExitStack() as stack:
        for name, prepare in filters.items():
            bed = stack.enter_context(Bed(["h1", "h2"], subnets=True))
            linux.forwarding(bed)
            prepare(bed)
            flow = stack.enter_context(sources(bed))
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
