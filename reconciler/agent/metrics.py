"""Prometheus metrics of the agent and its cubes, rendered on request. Needs prometheus_client (the extra `metrics`)."""
from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from reconciler.agent import stats
from reconciler.agent.counters import BUCKETS
from reconciler.agent.declared_metrics import Sample, as_polycube, exposed, families, left_out, samples, shown
from reconciler.errors import FeatureMissing, PcnError
from reconciler.service.registry import Services

_AT_ONCE, _SHARE = 0.2, 0.05  # seconds of CPU that pages may take in a burst, and of each second on average
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PORT_COUNTERS = {
    "packets": "Packets that passed a port, as its peer netdev counts them.",
    "bytes": "Bytes that passed a port, as its peer netdev counts them.",
    "errors": "Errors at a port, as its peer netdev counts them.",
    "dropped": "Packets dropped at a port's peer netdev.",
}
_SLOW = {
    "received": "Packets handed to a cube's slow path.",
    "handled": "Packets that a cube's slow path has handled.",
    "raised": "Errors that a cube's slow path raised.",
    "stale": "Packets that were too old when a cube's slow path came to them.",
    "abandoned": "Packets that a cube's slow path had not answered when its worker died.",
    "injected": "Packets that a cube's slow path has sent.",
    "refused": "Packets of a cube's slow path that the kernel refused.",
    "lost": "Packets for a cube's slow path that found no room in the ring.",
}
_DONE = {
    "program_loads": "Programs loaded.",
    "map_writes": "Table rows written or deleted.",
    "link_changes": "Netdevs, hooks and hops changed.",
}


class Budget:
    """Token bucket whose tokens are seconds of work: a burst, and a share of the elapsed time."""

    def __init__(self, at_once: float, share: float) -> None:
        self._most, self._share = at_once, share
        self._left, self._when = at_once, 0.0

    def allows(self, now: float) -> bool:
        self._left, self._when = min(self._most, self._left + (now - self._when) * self._share), now
        return self._left > 0

    def spend(self, seconds: float) -> None:
        self._left -= seconds


class Page:
    """`status` returns what `pcn agent status` prints; `tally`: the agent's counters."""

    def __init__(self, root: str, services: Services, status: Callable[[], dict[str, Any]], tally: Any) -> None:
        try:
            from prometheus_client import CollectorRegistry, ProcessCollector
        except ImportError:
            raise FeatureMissing("metrics need prometheus_client: pip install 'pcn[metrics]'") from None
        self._root, self._services, self._status, self._tally = root, services, status, tally
        self._declared: list[Sample] = []
        self._text, self._budget = b"", Budget(_AT_ONCE, _SHARE)
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def render(self) -> bytes:
        """The page; the cached one if requests are so frequent that the agent would do little else."""
        from prometheus_client import generate_latest

        if not self._text or self._budget.allows(time.monotonic()):
            began, self._declared = time.thread_time(), []
            self._text = bytes(generate_latest(self._registry)) + as_polycube(self._declared).encode()
            self._budget.spend(time.thread_time() - began)
        return self._text

    def describe(self) -> list[Any]:
        """Empty, so that registering reads nothing."""
        return []

    def collect(self) -> Iterator[Any]:
        said = self._status()
        yield from self._agent(said)
        if said["slow_path"] is not None:
            yield from _slow_path(said["slow_path"])
        try:
            cubes = stats.read(self._root, self._services)
            live = shown(self._root, self._services, cubes)
        except PcnError:  # export what was read; the rest is absent, which an alert can see
            return
        yield from _cubes(cubes)
        yield _left_out(left_out(self._services, cubes))
        self._declared = samples(self._services, live)
        yield from families(self._declared)
        yield from exposed(self._services, live)

    def _agent(self, said: dict[str, Any]) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        reconciles = CounterMetricFamily("pcn_reconcile", "Reconciles that had something to do, by result.", labels=["result"])
        for result, count in said["reconciles"].items():
            reconciles.add_metric([result], count)
        yield reconciles
        tally = self._tally
        running, buckets = 0, []
        for bound, count in zip([*map(str, BUCKETS), "+Inf"], tally.buckets, strict=True):
            running += count
            buckets.append((bound, running))
        duration = HistogramMetricFamily("pcn_reconcile_duration_seconds", "How long reconciles took that had something to do.")
        duration.add_metric([], buckets, tally.seconds)
        yield duration
        yield CounterMetricFamily("pcn_looks", "Comparisons of the kernel with what it should hold.", value=said["looks"])
        for name, text in _DONE.items():
            yield CounterMetricFamily(f"pcn_{name}", text, value=said["done"][name])
        healed = said["drift"]["healed"]
        yield CounterMetricFamily("pcn_drift_healed_objects", "Objects put right that had drifted.", value=healed)
        for name, (text, value) in _gauges(said).items():
            yield GaugeMetricFamily(name, text, value=value)


def _gauges(said: dict[str, Any]) -> dict[str, tuple[str, float]]:
    return {
        "pcn_drift_objects": ("Objects that differ from what was applied.", len(said["drift"]["now"])),
        "pcn_pending_changes": ("Changes that the files ask for and that are not made.", len(said["pending"])),
        "pcn_waiting_ports": ("Ports whose netdev is not there yet.", len(said["waiting"])),
        "pcn_broken_files": ("Watched files that cannot be applied.", sum(file["state"] == "broken" for file in said["files"])),
        "pcn_healthy": ("1 if the kernel holds what it should.", int(said["healthy"])),
        "pcn_last_success_timestamp_seconds": ("When the kernel was last as it should be.", said["last_success"]),
    }


def _cubes(cubes: list[stats.CubeStats]) -> Iterator[Any]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    drops = CounterMetricFamily("pcn_cube_drops", "Packets that a cube dropped, by reason.", labels=["cube", "reason"])
    entries = GaugeMetricFamily("pcn_cube_table_entries", "Rows in a cube's table.", labels=["cube", "table"])
    info = GaugeMetricFamily("pcn_cube_info", "A cube; always 1.", labels=["cube", "service", "type", "topology"])
    for cube in cubes:
        info.add_metric([cube.name, cube.service, cube.hook, cube.topology], 1)
        for reason in dict.fromkeys([*stats.REASONS, *cube.drops]):
            drops.add_metric([cube.name, reason], cube.drops.get(reason, 0))
        for table, count in cube.entries.items():
            entries.add_metric([cube.name, table], count)
    yield from (info, drops, entries)
    for what, text in _PORT_COUNTERS.items():
        family = CounterMetricFamily(f"pcn_port_{what}", text, labels=["cube", "port", "direction"])
        for cube in cubes:
            for port in cube.ports:
                if port.counters is not None:
                    for direction in ("rx", "tx"):
                        family.add_metric([cube.name, port.name, direction], getattr(port.counters, f"{direction}_{what}"))
        yield family


def _left_out(count: int) -> Any:
    from prometheus_client.core import GaugeMetricFamily

    text = "Cubes of which the metrics of their models are left out, as the tables of all cubes have more than 50,000 rows."
    return GaugeMetricFamily("pcn_left_out_cubes", text, value=count)


def _slow_path(counters: dict[str, Any]) -> Iterator[Any]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    for name, text in _SLOW.items():
        family = CounterMetricFamily(f"pcn_slowpath_{name}", f"Packets {text} a cube's slow path.", labels=["cube"])
        for cube, counts in counters["cubes"].items():
            family.add_metric([cube], counts[name])
        yield family
    held = GaugeMetricFamily("pcn_slowpath_held_packets", "Packets that a cube's slow path keeps for later.", labels=["cube"])
    for cube, counts in counters["cubes"].items():
        held.add_metric([cube], counts["held"])
    yield held
    text = "Times that a worker of slow paths died and was started again."
    restarts = CounterMetricFamily("pcn_slowpath_worker_restarts", text, labels=["worker"])
    for worker, said in counters["workers"].items():
        restarts.add_metric([worker], said["restarts"])
    yield restarts
