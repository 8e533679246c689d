"""lbrp against iptables' statistic DNAT and a map of nft.

60-byte UDP packets to one of 10, 1,000 or 10,000 services with three backends each, from netdev to netdev, on one CPU or on two
at once. In between is an lbrp at TC; or Linux's forwarding with the rules of kube-proxy's iptables mode, a service after the
other and `statistic` for the backends; or with nft, a map of services and `jhash` for the backends. Linux tracks connections (in
as many buckets as it has if nobody says otherwise), so the rules are for the first packet of a flow. *Known*: of 1 to 1,000,000
flows in turn that have been seen before. *New*: each packet is the first of a flow, to the last service. The last
table is the program alone (BPF_PROG_TEST_RUN), beside one that is nothing but `return bpf_redirect(IFINDEX, 0)`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks import linux, programs
from benchmarks.bed import Bed
from benchmarks.compare import Effort, Goal, Table, Turn, compare
from benchmarks.flows import counting, flows, frame
from benchmarks.forwarder import REDIRECT
from benchmarks.testrun import alone, stub
from benchmarks.two_cpus import turner
from reconciler.kernel.bpffs import Bpffs

OURS, IPTABLES, NFT = "lbrp, TC", "iptables statistic", "nft jhash"
SERVICES, BACKENDS = (10, 1_000, 10_000), 3
KNOWN = (1, 10_000, 100_000, 1_000_000)
ROOM, MUCH_ROOM = 262_144, 2_500_000  # flows; the first is what lbrp has if nobody says otherwise, and mostly Linux
ENDLESS = 5_000_000  # flows: none comes again
HOSTS = ("h1", "h2", "h3")
ALONE, TWICE = ("h1",), ("h1", "h3")  # who sends, each on a CPU of its own


def _vip(number: int) -> str:
    return linux.CLUSTER.format(number // 250, number % 250 + 1)


def _port(backend: int) -> int:
    return 8080 + backend


def _lbrp(bed: Bed, services: int, room: int = ROOM) -> None:
    backends = [{"ip": bed.address("h2"), "port": _port(backend)} for backend in range(BACKENDS)]
    listed = [{"vip": _vip(number), "vport": 80, "proto": "UDP", "backend": backends} for number in range(services)]
    bed.apply({"cubes": [_cube(listed, room)]})


def _cube(services: list[dict[str, object]], room: int) -> dict[str, object]:
    clients = [{"name": host, "peer": host, "type": "FRONTEND", "ip": f"10.0.{host[1:]}.1"} for host in TWICE]
    ports = [*clients, {"name": "h2", "peer": "h2", "type": "BACKEND"}]
    cube = {"name": "lb", "service-name": "lbrp", "type": "TC", "loglevel": "OFF", "port_mode": "MULTI", "max-flows": room}
    return {**cube, "ports": ports, "service": services}


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
    bed.run("sysctl -qw net.netfilter.nf_conntrack_udp_timeout=3600")


CONTENDERS: dict[str, Callable[[Bed, int], None]] = {OURS: _lbrp, IPTABLES: _iptables, NFT: _nft}


def run(effort: Effort) -> list[Table]:
    tables = [table for services in SERVICES for table in _tables(services, effort.at_most(9))]
    return [*tables, _limit(effort.at_most(9)), _program(effort)]


def _tables(services: int, effort: Effort) -> list[Table]:
    return [*_known(services, effort), *_new(services, effort)]


def _known(services: int, effort: Effort) -> Iterator[Table]:
    packets = effort.amount(40_000, 10_000)
    with _beds(services) as beds:
        for count in KNOWN[:-1]:
            yield _table(f"{services:,} services, {_flows(count)}", beds, 0, count, packets, effort)
        for count in KNOWN[1:-1]:
            yield _table(f"{services:,} services, {_flows(count)} on each of two CPUs", beds, 0, count, packets, effort, TWICE)
        _lbrp(beds[OURS], services, MUCH_ROOM)
        most = _flows(KNOWN[-1])
        yield _table(f"{services:,} services, {most}", beds, 0, KNOWN[-1], packets, effort)
        yield _table(f"{services:,} services, {most} on each of two CPUs", beds, 0, KNOWN[-1], packets, effort, TWICE)


def _new(services: int, effort: Effort) -> Iterator[Table]:
    """Few packets: those that a table has begun stay, and are not to be more than Linux tracks."""
    last = services - 1
    with _beds(services) as beds:
        yield _table(f"{services:,} services, new flows", beds, last, ENDLESS, effort.amount(8_000), effort)
        yield _table(f"{services:,} services, new flows on two CPUs", beds, last, ENDLESS, effort.amount(5_000), effort, TWICE)


@contextlib.contextmanager
def _beds(services: int) -> Iterator[dict[str, Bed]]:
    with contextlib.ExitStack() as stack:
        beds = {}
        for name, prepare in CONTENDERS.items():
            beds[name] = stack.enter_context(Bed(HOSTS, subnets=True))
            prepare(beds[name], services)
        yield beds


def _flows(count: int) -> str:
    return f"{count:,} known flow{'s' if count > 1 else ''}"


def _table(
    title: str, beds: Mapping[str, Bed], service: int, count: int, packets: int, effort: Effort, senders: Sequence[str] = ALONE
) -> Table:
    """Of more flows than Linux tracks here, Linux is left out."""
    tracked = int(Path("/proc/sys/net/netfilter/nf_conntrack_max").read_text())
    fits = count == ENDLESS or count * len(senders) <= tracked
    with contextlib.ExitStack() as stack:
        turns: dict[str, Turn] = {}
        for name, bed in beds.items():
            if name == OURS or fits:
                turns[name] = _turn(stack, bed, service, count, packets, senders)
        goals = [Goal(OURS, at_least=3.0)] if title.startswith("1,000 ") and fits else []
        note = "" if fits else f"More flows than Linux tracks here: nf_conntrack_max is the host's, {tracked:,}."
        against = IPTABLES if fits else ""
        bound = len(senders) == 1
        return compare(title, turns, effort, against=against, unit="ns a packet", note=note, goals=goals, bound=bound)


def _turn(stack: contextlib.ExitStack, bed: Bed, service: int, count: int, packets: int, senders: Sequence[str]) -> Turn:
    counter = stack.enter_context(counting(bed, "h2"))
    ways = []
    for host in senders:
        sent = frame(bed, host, "h2", _vip(service), 80)
        ways.append(stack.enter_context(flows(bed, host, "h2", sent, count, counter=counter)))
    if count != ENDLESS:
        for way in ways:
            way.send(count)  # from now on they are known
    return turner(ways, packets) if len(ways) > 1 else ways[0].turner(packets)


def _program(effort: Effort) -> Table:
    """The backend has the virtual address and its port, so that the frame, which nobody puts back, is the same after each run:
    everything that is done to a known flow is done, and its checksums are updated by nothing."""
    with contextlib.ExitStack() as stack:
        bed = stack.enter_context(Bed(HOSTS))
        vip = _vip(0)
        cube = _cube([{"vip": vip, "vport": 80, "proto": "UDP", "backend": [{"ip": vip, "port": 80}]}], ROOM)
        bed.apply({"cubes": [cube]})
        redirect = stack.enter_context(programs.written(REDIRECT["TC"], "TC", IFINDEX=bed.index("h2")))
        entry = stack.enter_context(Bpffs(bed.options.root).opened(stub("lb", "h1")))
        sent, repeat = frame(bed, "h1", "h2", vip, 80), effort.amount(200_000)
        turns = {"lbrp, a known flow": alone(entry, sent, repeat), "a bare redirect": alone(redirect, sent, repeat)}
        goals = [Goal("lbrp, a known flow", at_least=0.25)]
        return compare("The program alone, TC", turns, effort, against="a bare redirect", unit="ns a run", goals=goals)


def _limit(effort: Effort) -> Table:
    """What no load balancer can be better than here: a program at the client's netdev that redirects, whatever comes."""
    with _beds(SERVICES[0]) as beds, contextlib.ExitStack() as stack:
        bed = stack.enter_context(Bed(HOSTS, subnets=True))
        redirect = stack.enter_context(programs.written(REDIRECT["TC"], "TC", IFINDEX=bed.index("h2")))
        stack.enter_context(bed.attached(redirect, "TC", "h1"))
        known = {**beds, "a bare redirect": bed}
        return _table("A bare redirect in the same bed, 10 services, 1 known flow", known, 0, 1, effort.amount(40_000), effort)
