"""nat against iptables' MASQUERADE.

60-byte UDP packets from a host inside to one outside, from netdev to netdev on one CPU. Between them is a router, whose wire
to the outside has a nat that masquerades; or Linux's forwarding with one rule of iptables, which tracks connections.
*Known*: of 1 flow, or of 10,000 in turn, that have been seen before. *New*: each packet is the first of a flow. Both have
room for all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from benchmarks import linux, router
from benchmarks.bed import Bed
from benchmarks.compare import Effort, Goal, Table, Turn, compare
from benchmarks.flows import flows, frame

LINUX = "iptables MASQUERADE"
KNOWN = (1, 10_000)
ROOM = 400_000  # sessions
ENDLESS = 12_000_000  # flows: none comes again


def _cubes(bed: Bed) -> None:
    gateway = router.cube(bed, "TC")
    outside = next(port for port in gateway["ports"] if port["name"] == "h2")  # type: ignore[attr-defined]
    outside["tcubes"] = ["nat1"]
    nat = {"name": "nat1", "service-name": "nat", "type": "TC", "loglevel": "OFF", "sessions": ROOM}
    bed.apply({"cubes": [gateway, {**nat, "rule": {"masquerade": {"enabled": True}}}]})


def _iptables(bed: Bed) -> None:
    linux.forwarding(bed)
    bed.feed("iptables-restore", "*nat\n-A POSTROUTING -o h2 -j MASQUERADE\nCOMMIT")
    bed.run(f"sysctl -qw net.netfilter.nf_conntrack_max={ROOM}")


CONTENDERS: dict[str, Callable[[Bed], None]] = {"nat, TC": _cubes, LINUX: _iptables}


def run(effort: Effort) -> list[Table]:
    """A table of new flows takes fewer and shorter turns: all that they begin is kept."""
    tables = [_table(f"Known flows: {count:,}", count, effort, effort.amount(60_000, 20_000)) for count in KNOWN]
    return [*tables, _table("New flows", ENDLESS, effort.at_most(11), effort.amount(20_000))]


def _table(title: str, count: int, effort: Effort, packets: int) -> Table:
    with contextlib.ExitStack() as stack:
        turns: dict[str, Turn] = {}
        for name, prepare in CONTENDERS.items():
            bed = stack.enter_context(Bed(["h1", "h2"], subnets=True))
            prepare(bed)
            sent = frame(bed, "h1", "h2", bed.address("h2"), 2000)
            turns[name] = stack.enter_context(flows(bed, "h1", "h2", sent, count, to_ports=True)).turner(packets)
        goals = [Goal("nat, TC", at_least=1.5)]
        return compare(title, turns, effort, against=LINUX, unit="ns a packet", goals=goals)
