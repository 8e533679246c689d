"""pbforwarder against a map of nft at ingress, with 10 and 10,000 rules.

60-byte UDP packets that the last rule sends on, from netdev to netdev on one CPU. Each rule asks for a source, UDP and a port of
its own. In between is a pbforwarder at TC; or one rule of nft at the netdev's ingress hook that forwards by a map of source and
port: what is least work for the kernel, as long as all rules ask for the same.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from benchmarks.bed import Bed
from benchmarks.compare import Effort, Table, compare

SIZES = (10, 10_000)
OURS, NFT = "pbforwarder, TC", "nft map at ingress"


def _source(number: int) -> str:
    return f"10.7.{number >> 8}.{number & 255}"


def _port(number: int) -> int:
    return 2000 + number % 1000


def _rule(number: int) -> dict[str, object]:
    asked = {"src_ip": _source(number), "l4_proto": "UDP", "dst_port": _port(number)}
    return {"id": 3 * number, **asked, "action": "FORWARD", "out_port": "h2"}


def _pbforwarder(bed: Bed, size: int) -> None:
    ports = [{"name": host, "peer": host} for host in bed.hosts]
    cube = {"name": "pbf", "service-name": "pbforwarder", "type": "TC", "loglevel": "OFF", "ports": ports}
    bed.apply({"cubes": [{**cube, "rules": [_rule(number) for number in range(size)]}]})


def _nft(bed: Bed, size: int) -> None:
    places = ", ".join(f'{_source(number)} . {_port(number)} : "h2"' for number in range(size))
    found = f"map m {{ type ipv4_addr . inet_service : iface_index; elements = {{ {places} }}; }}"
    chain = 'chain c { type filter hook ingress device "h1" priority 0; fwd to ip saddr . udp dport map @m; }'
    bed.feed("nft -f -", f"table netdev t {{\n {found}\n {chain}\n}}")


CONTENDERS: dict[str, Callable[[Bed, int], None]] = {OURS: _pbforwarder, NFT: _nft}


def run(effort: Effort) -> list[Table]:
    return [_table(size, effort.at_most(15)) for size in SIZES]


def _table(size: int, effort: Effort) -> Table:
    with contextlib.ExitStack() as stack:
        turns = {}
        for name, prepare in CONTENDERS.items():
            bed = stack.enter_context(Bed(["h1", "h2"]))
            prepare(bed, size)
            last = size - 1
            sent = bed.udp("h1", "h2", ports=(1000, _port(last)), origin=_source(last))
            turns[name] = stack.enter_context(bed.flow("h1", "h2", sent, into="TC")).turner(effort.amount(60_000))
        return compare(f"{size:,} rules", turns, effort, against=NFT, unit="ns a packet")
