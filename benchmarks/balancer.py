"""lbrp against iptables' statistic DNAT and a map of nft.

60-byte UDP packets of one client to the last of 10 or 1,000 services with three backends each, from netdev to netdev on one
CPU. In between is an lbrp at TC; or Linux's forwarding with the rules of kube-proxy's iptables mode, a service after the
other and `statistic` for the backends; or with nft, a map of services and `jhash` for the backends. Linux tracks
connections, so the rules are for the first packet of a flow. *Known*: of 10,000 flows in turn that have been seen before.
*New*: each packet is the first of a flow.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from benchmarks import linux
from benchmarks.bed import Bed
from benchmarks.compare import Effort, Goal, Table, Turn, compare
from benchmarks.flows import flows, frame

OURS, IPTABLES, NFT = "lbrp, TC", "iptables statistic", "nft jhash"
SERVICES, BACKENDS = (10, 1_000), 3
KNOWN = 10_000
ROOM = 400_000  # flows
ENDLESS = 12_000_000  # flows: none comes again


def _vip(number: int) -> str:
    return linux.CLUSTER.format(number // 250, number % 250 + 1)


def _port(backend: int) -> int:
    return 8080 + backend


def _lbrp(bed: Bed, services: int) -> None:
    ports = [{"name": "a", "peer": "h1", "type": "FRONTEND"}, {"name": "b", "peer": "h2", "type": "BACKEND"}]
    backends = [{"ip": bed.address("h2"), "port": _port(backend)} for backend in range(BACKENDS)]
    listed = [{"vip": _vip(number), "vport": 80, "proto": "UDP", "backend": backends} for number in range(services)]
    cube = {"name": "lb", "service-name": "lbrp", "type": "TC", "loglevel": "OFF", "ports": ports, "max-flows": ROOM}
    bed.apply({"cubes": [{**cube, "service": listed}]})


def _iptables(bed: Bed, services: int) -> None:
    _forwarding(bed)
    bed.feed("iptables-restore", "\n".join(_rules(services, bed.address("h2"))))


def _rules(services: int, endpoint: str) -> Iterator[str]:
    yield from ("*nat", *(f":SVC-{number} - [0:0]" for number in range(services)))
    for number in range(services):
        yield f"-A PREROUTING -d {_vip(number)}/32 -p udp -m udp --dport 80 -j SVC-{number}"
        for backend in range(BACKENDS):
            share = f"-m statistic --mode random --probability {1 / (BACKENDS - backend):.10f}" if backend < BACKENDS - 1 else ""
            yield f"-A SVC-{number} -p udp {share} -j DNAT --to-destination {endpoint}:{_port(backend)}"
    yield "COMMIT"


def _nft(bed: Bed, services: int) -> None:
    _forwarding(bed)
    chains = "".join(
        f" chain s{number} {{ dnat ip to jhash ip saddr . udp sport mod {BACKENDS} map {{ "
        + ", ".join(f"{backend} : {bed.address('h2')} . {_port(backend)}" for backend in range(BACKENDS))
        + " }; }\n"
        for number in range(services)
    )
    found = ", ".join(f"{_vip(number)} . 80 : goto s{number}" for number in range(services))
    hook = f" chain c {{ type nat hook prerouting priority -100; ip daddr . udp dport vmap {{ {found} }}; }}\n"
    bed.feed("nft -f -", f"table ip t {{\n{chains}{hook}}}")


def _forwarding(bed: Bed) -> None:
    linux.forwarding(bed)
    bed.run(f"sysctl -qw net.netfilter.nf_conntrack_max={ROOM}")


CONTENDERS: dict[str, tuple[bool, Callable[[Bed, int], None]]] = {  # whether hosts have a subnet each; what is in the middle
    OURS: (False, _lbrp),
    IPTABLES: (True, _iptables),
    NFT: (True, _nft),
}


def run(effort: Effort) -> list[Table]:
    """A table of new flows takes fewer and shorter turns: all that they begin is kept."""
    tables = []
    for services in SERVICES:
        tables.append(_table(f"{services:,} services, known flows", services, KNOWN, effort, effort.amount(60_000, 20_000)))
        tables.append(_table(f"{services:,} services, new flows", services, ENDLESS, effort.at_most(11), effort.amount(20_000)))
    return tables


def _table(title: str, services: int, count: int, effort: Effort, packets: int) -> Table:
    with contextlib.ExitStack() as stack:
        turns: dict[str, Turn] = {}
        for name, (subnets, prepare) in CONTENDERS.items():
            bed = stack.enter_context(Bed(["h1", "h2"], subnets=subnets))
            prepare(bed, services)
            sent = frame(bed, "h1", "h2", _vip(services - 1), 80)
            turns[name] = stack.enter_context(flows(bed, "h1", "h2", sent, count)).turner(packets)
        goals = [Goal(OURS, at_least=3.0)] if services >= SERVICES[-1] else []
        return compare(title, turns, effort, against=IPTABLES, unit="ns a packet", goals=goals)
