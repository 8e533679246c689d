"""Metrics that models declare, of every live cube, in Polycube's format and by Prometheus' conventions.

They require reading cubes as `pcn show --state` does, so a host with very many rows exports none of them: that would keep the
agent busy. A metric of its own counts the cubes concerned.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from reconciler.agent.stats import CubeStats
from reconciler.engine.apply import Options
from reconciler.present.show import show
from reconciler.service.model.metrics import Metric, metrics, value
from reconciler.service.registry import Services

MOST_ROWS = 50_000
OWN_NAMES = ("pcn_", "process_")


class Sample(NamedTuple):
    metric: Metric
    cube: str
    value: float


def shown(root: str, services: Services, cubes: Collection[CubeStats]) -> list[dict[str, Any]]:
    """Those of these cubes that have such metrics, as in `pcn show --state`, by name; none if they are omitted. Raises
    KernelError, CompileError."""
    wanted = _having(services, cubes)
    if not wanted or left_out(services, cubes):
        return []
    documents = show(Options(root=root, services=services), state=True)
    live = (cube for each in documents for cube in each["spec"].get("cubes", ()))
    return sorted((cube for cube in live if cube["service-name"] in wanted), key=lambda cube: str(cube["name"]))


def left_out(services: Services, cubes: Collection[CubeStats]) -> int:
    """How many of these cubes have metrics that are omitted, since all tables together exceed MOST_ROWS rows."""
    if sum(count for cube in cubes for count in cube.entries.values()) <= MOST_ROWS:
        return 0
    wanted = _having(services, cubes)
    return sum(cube.service in wanted for cube in cubes)


def _having(services: Services, cubes: Collection[CubeStats]) -> set[str]:
    """The services of these cubes that declare metrics."""
    names = {cube.service for cube in cubes}
    return {name for name, found in declared_by(services, names).items() if found} | set(exposing(services, names))


def samples(services: Services, cubes: Collection[Mapping[str, Any]]) -> list[Sample]:
    """The samples of these cubes, by metric in the order of the models."""
    return [
        Sample(metric, cube["name"], value(metric.path, cube))
        for service, found in sorted(declared_by(services, {cube["service-name"] for cube in cubes}).items())
        for metric in found
        for cube in cubes
        if cube["service-name"] == service
    ]


def exposing(services: Services, names: Iterable[str]) -> dict[str, str]:
    """Of these services, those that export metrics as text: service to the top-level leaf that has it (pcn:exposition)."""
    state = {name: service.schema.get("x-state", {}) for name in names if (service := services.get(name)) is not None}
    return {name: leaf for name, leaves in state.items() for leaf, node in leaves.items() if "x-pcn-exposition" in node}


def exposed(services: Services, cubes: Collection[Mapping[str, Any]]) -> Iterator[Any]:
    """The metrics in such texts, with the cube label of pcn's own metrics. Names of the agent's own metrics are omitted."""
    from prometheus_client.core import Metric as Family
    from prometheus_client.parser import text_string_to_metric_families

    leaves = exposing(services, {cube["service-name"] for cube in cubes})
    made: dict[str, Any] = {}
    for cube in cubes:
        text = cube.get(leaves.get(cube["service-name"], ""), "")
        for family in text_string_to_metric_families(text):
            if family.name.startswith(OWN_NAMES):
                continue
            whole = made.setdefault(family.name, Family(family.name, family.documentation, family.type))
            ending = "_total" if whole.type == "counter" else ""
            for sample in family.samples:
                name = family.name + ending
                whole.add_sample(name, {"cube": cube["name"], **sample.labels}, sample.value)
    yield from made.values()


def declared_by(services: Services, names: Iterable[str]) -> dict[str, list[Metric]]:
    """The metrics that these services' models declare, by service."""
    known = {name: services.get(name) for name in names}
    return {name: list(metrics(service.schema)) for name, service in known.items() if service is not None}


def as_polycube(found: Iterable[Sample]) -> str:
    """In the format of Polycube's exporter: its names and label, six decimals."""
    lines: dict[Metric, str] = {}
    for metric, cube, number in found:
        head = f"# HELP {metric.name} {metric.help}\n# TYPE {metric.name} {metric.kind}\n"
        lines[metric] = lines.get(metric, head) + f'{metric.name}{{cubeName="{cube}"}} {number:f}\n'
    return "".join(lines.values())


def families(found: Iterable[Sample]) -> Iterator[Any]:
    """By Prometheus' conventions: named pcn_…, counters …_total, with the cube label of pcn's own metrics."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    made: dict[Metric, Any] = {}
    for metric, cube, number in found:
        if metric not in made:
            kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            made[metric] = kind(f"pcn_{metric.name}", f"{metric.help}.", labels=["cube"])
        made[metric].add_metric([cube], number)
    yield from made.values()

