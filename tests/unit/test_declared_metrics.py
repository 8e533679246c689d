"""Metrics that models declare: every one in the tree has a path that can be read, and what paths come to."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from reconciler.agent.declared_metrics import MOST_ROWS, Sample, as_polycube, declared_by, left_out, shown
from reconciler.agent.stats import CubeStats
from reconciler.service.model.metrics import Metric, value
from reconciler.service.registry import Services

CUBE: dict[str, Any] = {
    "stats": {"pkts": 7, "none": None},
    "list": [{"a": "x"}, {"a": "y"}, {}],
    "ports": [{"ip": "10.0.0.1/24", "more": [1, 2]}, {"more": [3]}, {"ip": "10.0.1.1/24"}],
}


@pytest.mark.parametrize(("path", "expected"), [
    ("$.stats.pkts", 7), ("$.stats.none", 0), ("$.nothing.at.all", 0), ("$.list.length", 3), ("$.nothing.length", 0),
    ("sum($.ports[*].more.length)", 3), ("$.ports[*].more.length", 3), ("$.ports[?(@.ip != '')]", 2), ("$.ports[?(@.ip == '')]", 1),
    ("$.list[?(@.a == 'x')]", 1), ("$.list.length + $.ports[?(@.ip != '')]", 5),
])  # fmt: skip
def test_a_path_comes_to(path: str, expected: float) -> None:
    assert value(path, CUBE) == expected


@pytest.mark.parametrize("path", ["", "TODO", "$", "$.a[0]", "$..a", "stats.pkts", "$.a * 2"])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="no path"):
        value(path, CUBE)


def test_every_metric_of_every_model_has_a_path_that_can_be_read_and_a_name_of_its_own() -> None:
    services = Services()
    declared = [metric for found in declared_by(services, services.names()).values() for metric in found]
    assert len({metric.name for metric in declared}) == len(declared) > 10
    assert {metric.kind for metric in declared} <= {"counter", "gauge"}
    assert all(value(metric.path, {}) == 0 for metric in declared)


def test_the_lines_are_polycube_s_and_a_parser_of_prometheus_reads_them() -> None:
    pkts, ports = Metric("pkts", "counter", "Packets", "$.a"), Metric("ports", "gauge", "Ports", "$.b")
    text = as_polycube([Sample(pkts, "d1", 3), Sample(pkts, "d2", 12345678), Sample(ports, "r1", 2)])
    assert text.splitlines()[2:4] == ['pkts{cubeName="d1"} 3.000000', 'pkts{cubeName="d2"} 12345678.000000']
    found = {family.name: family for family in text_string_to_metric_families(text)}
    assert {name: family.type for name, family in found.items()} == {"pkts": "counter", "ports": "gauge"}
    assert [sample.value for sample in found["pkts"].samples] == [3, 12345678]


def test_cubes_whose_metrics_are_left_out_are_counted_and_nothing_is_read() -> None:
    services = Services()
    cubes = [CubeStats("d1", "dynmon", "TC", "t"), CubeStats("s1", "simplebridge", "TC", "t", entries={"fwdtable": MOST_ROWS}),
             CubeStats("h1", "transparenthelloworld", "TC", "t")]  # fmt: skip
    assert left_out(services, cubes) == 0
    more = [*cubes, CubeStats("s2", "simplebridge", "TC", "t", entries={"fwdtable": 1})]
    assert left_out(services, more) == 3, "all but the one whose model declares none"
    assert shown("/nowhere", services, more) == []
