"""Metrics with metadata as samples, and as Prometheus' text (format 0.0.4).

An array of one value is one sample. Of a larger one each value has a label `index`, and of any other table each row has its key
as labels: `key`, or the fields of a struct. A value that is no number is not exported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cubes.dynmon.options import PATHS, metrics_of
from cubes.dynmon.values import ARRAYS, value_of

MOST_SAMPLES = 10_000  # of one metric: each is a time series of whoever scrapes it
LEFT_OUT = "dynmon_left_out_samples"
_TYPES = {"counter": "counter", "gauge": "gauge"}

Labels = tuple[tuple[str, str], ...]
Rows = Mapping[str, Mapping[bytes, bytes]]


def samples(metric: Mapping[str, Any], table: Any, rows: Mapping[bytes, bytes]) -> list[tuple[Labels, int]]:
    """Of each sample its labels and its value."""
    if table.value.kind != "scalar":
        return []
    own: Labels = tuple((label["name"], label["value"]) for label in metric["open-metrics-metadata"].get("labels", ()))
    taken = {name for name, _ in own}
    values = value_of(table, rows)[:MOST_SAMPLES]
    if table.type not in ARRAYS:
        summed: dict[Labels, int] = {}  # keys may differ in a struct's padding alone
        for row in values:
            labels = (*_labels(_key(row["key"]), taken), *own)
            summed[labels] = summed.get(labels, 0) + row["value"]
        return list(summed.items())
    if len(values) == 1:
        return [(own, values[0])]
    return [((*_labels([("index", at)], taken), *own), value) for at, value in enumerate(values)]


def _key(key: Any) -> list[tuple[str, Any]]:
    return list(key.items()) if isinstance(key, Mapping) else [("key", key)]


def _labels(found: Sequence[tuple[str, Any]], taken: set[str]) -> Iterator[tuple[str, str]]:
    for name, value in found:
        yield (f"{name}_" if name in taken else name), str(value)


def type_of(metric: Mapping[str, Any]) -> str:
    return _TYPES.get(str(metric["open-metrics-metadata"]["type"]).lower(), "untyped")


def exposition(config: Mapping[str, Any], rows: Rows, tables: Mapping[str, Any]) -> Iterator[str]:
    """The text's lines. `rows` by the tables' names in the user's C. Of a name that both directions have, `path`: which."""
    named: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for direction in PATHS:
        for metric in metrics_of(config, direction):
            if "open-metrics-metadata" in metric and metric["map-name"] in tables:
                named.setdefault(metric["name"], []).append((direction, metric))
    for name, metrics in named.items():
        apart = len(metrics) > 1
        lines = [line for direction, metric in metrics for line in _lines(direction, metric, rows, tables, apart=apart)]
        if lines:
            about = metrics[0][1]["open-metrics-metadata"]
            yield f"# HELP {name} {_escaped(about['help'], quoted=False)}\n# TYPE {name} {type_of(metrics[0][1])}\n"
        yield from lines
    yield from _left_out([metric for metrics in named.values() for _, metric in metrics], rows, tables)


def _left_out(metrics: Sequence[Mapping[str, Any]], rows: Rows, tables: Mapping[str, Any]) -> Iterator[str]:
    """How many samples of each are one too many; nothing where none is."""
    said = ""
    for metric in metrics:
        table = metric["map-name"]
        over = len(value_of(tables[table], rows.get(table, {}))) - MOST_SAMPLES if tables[table].value.kind == "scalar" else 0
        if over > 0:
            said += f'{LEFT_OUT}{{metric="{_escaped(metric["name"])}",table="{table}"}} {over}\n'
    if said:
        yield f"# HELP {LEFT_OUT} Rows of a metric's table beyond those that are exported.\n# TYPE {LEFT_OUT} gauge\n{said}"


def _lines(
    direction: str, metric: Mapping[str, Any], rows: Rows, tables: Mapping[str, Any], *, apart: bool
) -> Iterator[str]:
    for labels, value in samples(metric, tables[metric["map-name"]], rows.get(metric["map-name"], {})):
        whole = (("path", direction), *labels) if apart else labels
        said = ",".join(f'{label}="{_escaped(text)}"' for label, text in whole)
        yield f"{metric['name']}{{{said}}} {value}\n"


def _escaped(text: str, *, quoted: bool = True) -> str:
    found = text.replace("\\", "\\\\").replace("\n", "\\n")
    return found.replace('"', '\\"') if quoted else found
