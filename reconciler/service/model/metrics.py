"""The metrics that a model declares (name-, type-, help-, path-metric and type-operation of Polycube's), and their values. Pure.

A path is what Polycube's models use of JSONPath, on a cube as `pcn show --state` has it:

    $.stats.pkts                          a number
    $.blacklist-src.length                how many entries
    $.ports[?(@.ip != '')]                with type-operation FILTER: how many entries have, or have not, this value
    sum($.ports[*].secondaryip.length)    of all entries together
    $.route.length + $.fib.length         several of these
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_STEPS = r"\$(?P<steps>(?:\.[\w-]+(?:\[\*\])?)+)"
_CONDITION = r"(?:\[\?\(@\.(?P<leaf>[\w-]+) (?P<how>==|!=) '(?P<text>[^']*)'\)\])?"
_TERM = re.compile(rf"(?:sum\()?{_STEPS}{_CONDITION}\)?")
_LENGTH = ".length"


@dataclass(frozen=True, slots=True)
class Metric:
    """`kind`: counter or gauge."""

    name: str
    kind: str
    help: str
    path: str


def metrics(schema: Mapping[str, Any]) -> Iterator[Metric]:
    """All metrics that a service's schema declares, without those whose path is undefined in Polycube."""
    said = schema.get("x-pcn-metric")
    if said and said["path"] != "TODO":
        yield Metric(said["name"], said["type"].lower(), said.get("help", said["name"]), said["path"])
    for part in ("properties", "x-state"):
        for node in schema.get(part, {}).values():
            yield from metrics(node)
    if isinstance(schema.get("items"), Mapping):
        yield from metrics(schema["items"])


def value(path: str, cube: Mapping[str, Any]) -> float:
    """The value at a path; a missing one counts as 0. Raises ValueError for an invalid path."""
    return float(sum(_term(term.strip(), cube) for term in path.split(" + ")))


def _term(term: str, cube: Mapping[str, Any]) -> float:
    match = _TERM.fullmatch(term)
    if match is None:
        raise ValueError(f"no path of a metric: {term}")
    steps, counts = match["steps"], match["leaf"] is not None
    if steps.endswith(_LENGTH):
        steps, counts = steps.removesuffix(_LENGTH), True
    found: list[Any] = [cube]
    for step in steps.split(".")[1:]:
        found = [node.get(step.removesuffix("[*]")) for node in found if isinstance(node, Mapping)]
        found = [each for node in found for each in (node or ())] if step.endswith("[*]") else found
    if not counts:
        return sum(float(node) for node in found if node is not None)
    entries = [entry for node in found for entry in (node or ())]
    if match["leaf"] is None:
        return len(entries)
    return sum((str(entry.get(match["leaf"], "")) == match["text"]) == (match["how"] == "==") for entry in entries)
