"""The metrics that models declare, of every live cube: as Polycube writes them, and by Prometheus' conventions.

They are read as `pcn show --state` reads a cube, so a host whose tables have very many rows has none of them: the agent has
other things to do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any, NamedTuple

from reconciler.agent.stats import CubeStats
from reconciler.engine.apply import Options
from reconciler.present.show import show
from reconciler.service.model.metrics import Metric, metrics, value
from reconciler.service.registry import Services

MOST_ROWS = 50_000


class Sample(NamedTuple):
    metric: Metric
    cube: str
    value: float


def samples(root: str, services: Services, cubes: Collection[CubeStats]) -> list[Sample]:
    """Of these cubes, metric by metric in the order of the models. Raises KernelError, CompileError."""
    declared = declared_by(services, {cube.service for cube in cubes})
    if not any(declared.values()) or sum(count for cube in cubes for count in cube.entries.values()) > MOST_ROWS:
        return []
    documents = show(Options(root=root, services=services), state=True)
    live = sorted((cube for each in documents for cube in each["spec"].get("cubes", ())), key=lambda cube: str(cube["name"]))
    return [
        Sample(metric, cube["name"], value(metric.path, cube))
        for service, found in sorted(declared.items())
        for metric in found
        for cube in live
        if cube["service-name"] == service
    ]


def declared_by(services: Services, names: Iterable[str]) -> dict[str, list[Metric]]:
    """What these services' models declare, by service."""
    known = {name: services.get(name) for name in names}
    return {name: list(metrics(service.schema)) for name, service in known.items() if service is not None}


def as_polycube(found: Iterable[Sample]) -> str:
    """The lines of Polycube's own exporter: its names, its label, six decimals."""
    lines: dict[Metric, str] = {}
    for metric, cube, number in found:
        head = f"# HELP {metric.name} {metric.help}\n# TYPE {metric.name} {metric.kind}\n"
        lines[metric] = lines.get(metric, head) + f'{metric.name}{{cubeName="{cube}"}} {number:f}\n'
    return "".join(lines.values())


def families(found: Iterable[Sample]) -> Iterator[Any]:
    """The same by Prometheus' conventions: named pcn_…, a counter …_total, with the label that pcn's other metrics have."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    made: dict[Metric, Any] = {}
    for metric, cube, number in found:
        if metric not in made:
            kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            made[metric] = kind(f"pcn_{metric.name}", f"{metric.help}.", labels=["cube"])
        made[metric].add_metric([cube], number)
    yield from made.values()

