"""A stateful firewall with 1 to 100,000 established flows, and with new ones, against iptables and nftables.

The firewall cube is on a port of a router cube, so packets do not meet the kernel's stack; the others filter what the kernel
forwards. All accept what belongs to a connection and drop everything else. *Established*: each flow was begun while new ones
were accepted, and answered; then the rule that accepts new ones is taken away, and packets of 60 bytes come of all flows in
turn. A turn in which one does not pass fails. *New*: each packet begins a flow, which is accepted and kept.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from benchmarks import linux, router
from benchmarks.bed import Bed, Flow
from benchmarks.compare import Effort, Goal, Table, Turn, compare
from benchmarks.flows import counting, flows, frame, generator

HOSTS = ("h1", "h2")
SIZES = (1, 60_000, 100_000)
ROOM = 262_144
NFT, IPTABLES = "nftables", "iptables-legacy"
BEST = "firewall on a router, XDP"
Prepare = Callable[[Bed, bool], None]
"""Sets a contender up, or changes its rules: whether new flows are accepted."""


def run(effort: Effort) -> list[Table]:
    goals = {SIZES[-1]: [Goal(BEST, at_least=1.9)]}
    known = [_table(f"{count:,} established flows", count, effort.at_most(15), goals.get(count, [])) for count in SIZES]
    return [*known, _table("New flows", 0, effort.at_most(9), [Goal(BEST, at_least=2.3)])]


def _table(title: str, count: int, effort: Effort, goals: list[Goal]) -> Table:
    """`count`: flows; 0: each packet is of a new one."""
    packets = effort.amount(100_000 if count else 10_000)
    with contextlib.ExitStack() as stack:
        turns: dict[str, Turn] = {}
        for name, prepare in CONTENDERS.items():
            bed = stack.enter_context(Bed(HOSTS, subnets=True))
            prepare(bed, True)
            into = "XDP" if name == BEST else "TC"
            way = _way(stack, bed, count or 10_000_000, into)
            if count:
                _begin(stack, bed, way, count, into)
                prepare(bed, False)
                turns[name] = _all_pass(way, max(packets, count))
            else:
                turns[name] = way.turner(packets)
        return compare(title, turns, effort, against=NFT, unit="ns a packet", goals=goals)


def _way(stack: contextlib.ExitStack, bed: Bed, count: int, into: str) -> Flow:
    first = frame(bed, *HOSTS, bed.address("h2"), 2000)
    return stack.enter_context(flows(bed, *HOSTS, first, count, into=into, to_ports=True))


def _begin(stack: contextlib.ExitStack, bed: Bed, way: Flow, count: int, into: str) -> None:
    """One packet of each flow, and its answer. Raises RuntimeError if one does not come through."""
    first = frame(bed, "h2", "h1", bed.address("h1"), 2000)
    first = first[:34] + first[36:38] + first[36:]  # from the port that the flows are to
    answers = stack.enter_context(generator(bed, "h2", first, count, to_ports=True, back=True))
    for each in (way, Flow(bed.space("h2"), answers, first, stack.enter_context(counting(bed, "h1", into)))):
        if (came := each.send(count)) != count:
            raise RuntimeError(f"of {count} packets that begin or answer a flow {came} came through")


def _all_pass(way: Flow, packets: int) -> Turn:
    def turn() -> float:
        lost, took = way.lost, way.turn(packets)
        if way.lost != lost:
            raise RuntimeError(f"{way.lost - lost} packets of known flows did not pass")
        return took

    return turn


# -- contenders -------------------------------------------------------------------------------------------------------


def _cubes(hook: str) -> Prepare:
    def prepare(bed: Bed, new: bool) -> None:
        states = ["ESTABLISHED", *(["NEW"] if new else [])]
        rules = [{"id": number, "conntrack": state, "action": "ACCEPT"} for number, state in enumerate(states)]
        chains = [{"name": name, "default": "DROP", "rule": rules} for name in ("INGRESS", "EGRESS")]
        guard = {"name": "fw", "service-name": "firewall", "type": hook, "loglevel": "OFF", "max-connections": ROOM}
        gateway: dict[str, Any] = router.cube(bed, hook)
        gateway["ports"][0]["tcubes"] = ["fw"]
        bed.apply({"cubes": [gateway, guard | {"chain": chains}]})

    return prepare


def _nft(bed: Bed, new: bool) -> None:
    if new:
        linux.forwarding(bed)
    accepted = "established, new" if new else "established"
    chain = f"type filter hook forward priority 0; policy drop;\n ct state {accepted} accept"
    bed.feed("nft -f -", f"table ip t\ndelete table ip t\ntable ip t {{\n chain c {{\n {chain}\n }}\n}}")


def _iptables(bed: Bed, new: bool) -> None:
    if new:
        linux.forwarding(bed)
    accepted = "ESTABLISHED,NEW" if new else "ESTABLISHED"
    rule = f"-A FORWARD -m conntrack --ctstate {accepted} -j ACCEPT"
    bed.feed("iptables-legacy-restore", f"*filter\n:FORWARD DROP [0:0]\n{rule}\nCOMMIT")


CONTENDERS: dict[str, Prepare] = {
    "firewall on a router, TC": _cubes("TC"),
    BEST: _cubes("XDP_DRV"),
    NFT: _nft,
    IPTABLES: _iptables,
}
