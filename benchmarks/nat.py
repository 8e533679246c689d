"""nat against iptables' MASQUERADE.

60-byte UDP packets from a host inside to one outside, from netdev to netdev on one CPU, or of two hosts inside, each on a CPU of
its own. Between them is a router, whose wire to the outside has a nat that masquerades; or Linux's forwarding with one rule of
iptables, which tracks connections. *Known*: of 1, 10,000 or 1,000,000 flows in turn that have been seen before. *New*: each
packet is the first of a flow. The nat has room for all, and Linux for those of which it takes part.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from benchmarks import linux, router
from benchmarks.bed import Bed
from benchmarks.compare import Effort, Goal, Table, Turn, compare
from benchmarks.flows import PORTS, counting, flows, frame
from benchmarks.two_cpus import turner

LINUX = "iptables MASQUERADE"
KNOWN = (1, 10_000, 1_000_000)
ROOM = 400_000  # sessions, where there are less
ENDLESS = 12_000_000  # flows: none comes again


def _cubes(bed: Bed, room: int) -> None:
    gateway = router.cube(bed, "TC")
    outside = next(port for port in gateway["ports"] if port["name"] == "h2")  # type: ignore[attr-defined]
    outside["tcubes"] = ["nat1"]
    nat = {"name": "nat1", "service-name": "nat", "type": "TC", "loglevel": "OFF", "sessions": room, "timeouts": {"udp": 3600}}
    bed.apply({"cubes": [gateway, {**nat, "rule": {"masquerade": {"enabled": True}}}]})


def _iptables(bed: Bed, _: int) -> None:
    linux.forwarding(bed)
    bed.feed("iptables-restore", "*nat\n-A POSTROUTING -o h2 -j MASQUERADE\nCOMMIT")
    bed.run("sysctl -qw net.netfilter.nf_conntrack_udp_timeout=3600")


CONTENDERS: dict[str, Callable[[Bed, int], None]] = {"nat, TC": _cubes, LINUX: _iptables}


def run(effort: Effort) -> list[Table]:
    """A table of new flows takes fewer and shorter turns: all that they begin is kept."""
    tables = []
    for hosts, where in ((("h1",), ""), (("h1", "h3"), " on each of two CPUs")):
        tables += [
            _table(f"Known flows: {count:,}{where}", count, effort, effort.amount(60_000, 20_000), hosts) for count in KNOWN
        ]
        tables.append(_table(f"New flows{where}", ENDLESS, effort.at_most(11), effort.amount(20_000) // len(hosts), hosts))
    return tables


def _table(title: str, count: int, effort: Effort, packets: int, hosts: tuple[str, ...]) -> Table:
    """`hosts`: who sends, each on a CPU of its own. Of more flows than Linux tracks here, Linux is left out."""
    tracked, known = int(Path("/proc/sys/net/netfilter/nf_conntrack_max").read_text()), count != ENDLESS
    fits = not known or count * len(hosts) <= tracked
    with contextlib.ExitStack() as stack:
        turns: dict[str, Turn] = {}
        for name, prepare in CONTENDERS.items():
            if name == LINUX and not fits:
                continue
            bed = stack.enter_context(Bed(["h1", "h2", "h3"], subnets=True))
            prepare(bed, max(ROOM, count * len(hosts) * 5 // 4) if known else ROOM)
            counter = stack.enter_context(counting(bed, "h2"))
            sent = {host: frame(bed, host, "h2", bed.address("h2"), 2000) for host in hosts}
            ports = PORTS // len(hosts)  # together they want no more of the one address outside than it has
            many = count if known else count // len(hosts)
            ways = [
                stack.enter_context(flows(bed, host, "h2", sent[host], many, ports=ports, to_ports=True, counter=counter))
                for host in hosts
            ]
            for way in ways if known else ():
                way.send(max(count, 1000))
            turns[name] = turner(ways, packets) if len(ways) > 1 else ways[0].turner(packets)
        goals = [Goal("nat, TC", at_least=1.5)] if fits else []
        note = "" if fits else f"More flows than Linux tracks here: nf_conntrack_max is the host's, {tracked:,}."
        against = LINUX if fits else ""
        return compare(title, turns, effort, against=against, unit="ns a packet", note=note, goals=goals, bound=len(hosts) == 1)
