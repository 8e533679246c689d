"""Packets carried and dropped by cubes and ports, from the kernel's counters. Read-only, works without an agent."""
from __future__ import annotations

import struct
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from reconciler import pins
from reconciler.kernel import maps, rtnl
from reconciler.kernel.bpffs import Bpffs
from reconciler.kernel.netstate import NetdevCounters
from reconciler.kernel.percpu import fold_cpus
from reconciler.kernel.reader import Reader
from reconciler.service.registry import Services

if TYPE_CHECKING:
    from reconciler.capture.count import Carried

REASONS = ("policy", "no_peer", "not_ready", "no_slowpath", "malformed")  # enum pcn_drop
OWN_REASONS = 8  # PCN_DROP_SERVICE: reasons from here on are the service's, named by its model
_COUNTED = frozenset({maps.HASH, maps.LRU_HASH, maps.PERCPU_HASH, maps.LRU_PERCPU_HASH, maps.LPM_TRIE})


@dataclass(frozen=True, slots=True)
class PortStats:
    """`counters` of the peer netdev, from the cube's point of view: rx enters at the port. None if the peer is a port of another
    cube, where only a tap counts, or is missing."""

    name: str
    peer: str
    counters: NetdevCounters | Carried | None = None

    @property
    def between_cubes(self) -> bool:
        return ":" in self.peer


@dataclass(frozen=True, slots=True)
class CubeStats:
    """Totals since the cube was created. `drops` by reason, without zeroes; `entries`: rows of each hash table."""

    name: str
    service: str
    hook: str
    topology: str
    drops: Mapping[str, int] = field(default_factory=dict)
    ports: tuple[PortStats, ...] = ()
    entries: Mapping[str, int] = field(default_factory=dict)


def read(root: str, services: Services, names: Collection[str] = (), *, entries: bool = True) -> list[CubeStats]:
    """The statistics of all cubes of a root, or those with these names or topologies. `entries`: count table rows too, which
    reads the tables. Raises KernelError."""
    reader, netdevs = Reader(Bpffs(root)), rtnl.counters()
    found = []
    for escaped in reader.names("cubes"):
        name, about = pins.unescape(escaped), reader.json_link(f"cubes/{escaped}/about")
        if about is None or "~" in escaped:
            continue
        service, hook, topology = about.get("service", ""), about.get("type", "TC"), about.get("topology", "")
        if pins.is_shadow(name) or (names and not {name, topology} & set(names)):
            continue
        ports, rows = tuple(_ports(reader, name, netdevs)), _entries(reader, name) if entries else {}
        known = services.get(service)
        drops = _drops(reader, name, known.drop_reasons if known else ())
        found.append(CubeStats(name, service, hook, topology, drops, ports, rows))
    return found


def between(cubes: Collection[CubeStats]) -> list[str]:
    """The ports ('br1:p1') with a peer in another cube, where no netdev counts."""
    return [f"{cube.name}:{port.name}" for cube in cubes for port in cube.ports if port.between_cubes]


def with_counted(cubes: Collection[CubeStats], counted: Mapping[str, Carried]) -> list[CubeStats]:
    """The cubes with the counts of taps at their ports."""

    def at(cube: CubeStats) -> tuple[PortStats, ...]:
        return tuple(replace(port, counters=counted.get(f"{cube.name}:{port.name}", port.counters)) for port in cube.ports)

    return [replace(cube, ports=at(cube)) for cube in cubes if not pins.is_of_no_document(cube.name)]


def _drops(reader: Reader, cube: str, own: Sequence[str]) -> dict[str, int]:
    table = reader.rows(pins.table(cube, "pcn_drops"))
    if table is None:
        return {}
    spec, rows = table
    totals = {struct.unpack("<I", key)[0]: struct.unpack("<Q", fold_cpus(spec, value))[0] for key, value in sorted(rows.items())}
    return {reason_name(number, own): count for number, count in totals.items() if count}


def reason_name(number: int, own: Sequence[str] = ()) -> str:
    """The name of a row of pcn_drops; `own`: the service's names."""
    names, at = (own, number - OWN_REASONS) if number >= OWN_REASONS else (REASONS, number)
    return names[at] if at < len(names) else f"reason_{number}"


def _ports(reader: Reader, cube: str, netdevs: Mapping[str, NetdevCounters]) -> list[PortStats]:
    home = f"{pins.cube(cube)}/ports"
    peers = {pins.unescape(name): reader.link_text(f"{home}/{name}") or "-" for name in reader.names(home) if "~" not in name}
    return [PortStats(port, peer, netdevs.get(peer)) for port, peer in peers.items()]


def _entries(reader: Reader, cube: str) -> dict[str, int]:
    home, found = f"{pins.cube(cube)}/tables", {}
    for name in reader.names(home):
        spec = reader.spec(f"{home}/{name}")
        if spec is not None and spec.type in _COUNTED and (table := reader.rows(f"{home}/{name}")) is not None:
            found[name] = len(table[1])
    return found


def plain(cubes: Collection[CubeStats]) -> list[dict[str, Any]]:
    """As data for JSON."""
    return [
        {
            "name": cube.name, "service": cube.service, "type": cube.hook, "topology": cube.topology, "drops": dict(cube.drops),
            "ports": [{"name": p.name, "peer": p.peer, **(asdict(p.counters) if p.counters else {})} for p in cube.ports],
            "entries": dict(cube.entries),
        }
        for cube in cubes
    ]  # fmt: skip


def rates(before: Collection[CubeStats], after: Collection[CubeStats], seconds: float) -> list[dict[str, Any]]:
    """As `plain`, each cube and port with `rates`: the increase of each counter per second. New ones have none; a counter that
    decreased is of a recreated netdev, and counts from 0."""
    old = {cube["name"]: cube for cube in plain(before)}
    found = plain(after)
    for cube in found:
        was = old.get(cube["name"])
        if was is None:
            continue
        cube["rates"] = {"drops": _grown(was["drops"], cube["drops"], seconds)}
        ports = {port["name"]: port for port in was["ports"] if "rx_packets" in port}
        for port in cube["ports"]:
            if port["name"] in ports and "rx_packets" in port:
                port["rates"] = _grown(ports[port["name"]], port, seconds)
    return found


def _grown(was: Mapping[str, Any], now: Mapping[str, Any], seconds: float) -> dict[str, float]:
    numbers = {name: value for name, value in now.items() if isinstance(value, int)}
    starts = {name: was.get(name, 0) if was.get(name, 0) <= value else 0 for name, value in numbers.items()}
    return {name: round((value - starts[name]) / seconds, 1) for name, value in numbers.items()}
