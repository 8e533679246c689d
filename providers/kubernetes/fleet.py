"""The status of all nodes of a cluster, with the topologies of each, as `pcn fleet status` reports it for Git and etcd."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from providers.kubernetes.state import Object
from providers.kubernetes.topologies import is_meant

_WORST = ("Away", "Invalid", "Failed", "Pending", "InSync")
_STATES = {"applied": "InSync", "refused": "Invalid", "failed": "Failed"}


def rows(nodes: Iterable[Object], topologies: Iterable[Object]) -> list[dict[str, Any]]:
    """One a node, by name. `topologies`: those that select it, each with the generation in force ('' if none yet). A node that
    the cluster reports as not ready is 'Away'. Pure."""
    items = sorted(topologies, key=_name)
    return sorted((_row(node, items) for node in nodes), key=lambda row: str(row["host"]))


def _row(node: Object, items: Iterable[Object]) -> dict[str, Any]:
    name, labels = _name(node), node["metadata"].get("labels") or {}
    found, states, problems = {}, {"InSync"}, []
    for item in items:
        if not is_meant(_name(item), item, name, labels):
            continue
        said = ((item.get("status") or {}).get("nodes") or {}).get(name, {})
        now = said.get("observedGeneration") == item["metadata"].get("generation")
        states.add(_STATES.get(str(said.get("state")), "Pending") if now else "Pending")
        found[_name(item)] = said.get("observedGeneration", "") if said.get("state") == "applied" else ""
        if said.get("problem"):
            problems.append(f"{_name(item)}: {said['problem']}")
    ready = {each.get("type"): each.get("status") for each in (node.get("status") or {}).get("conditions") or ()}
    if ready.get("Ready", "True") != "True":
        states.add("Away")
    state = next(each for each in _WORST if each in states)
    return {"host": name, "labels": labels, "state": state, "topologies": found, "problems": problems}


def as_text(found: Iterable[Mapping[str, Any]]) -> list[str]:
    """A line a node, and below it the first line of each problem."""
    lines = []
    for row in found:
        each = (f"{name}@{generation}" if generation != "" else name for name, generation in row["topologies"].items())
        lines.append(f"{row['host']:<20}  {row['state']:<9}  {', '.join(each) or 'no topology'}")
        lines += [f"  {problem.splitlines()[0]}" for problem in row["problems"]]
    return lines


def _name(item: Object) -> str:
    return str((item.get("metadata") or {}).get("name", ""))
