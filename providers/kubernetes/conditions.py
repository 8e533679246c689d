"""The status of a Topology, by the rules that kubectl wait, Flux and Argo read (kstatus). Pure.

    Ready         True: this generation is in force on every node that it is for
    Reconciling   present, and True, while nodes are in progress
    Stalled       present, and True, when some node cannot proceed until the resource changes

`observedGeneration` is the generation that all of it refers to. Reasons: InSync, Pending, Failed, Invalid, HostMismatch.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from typing import Any

Said = tuple[Any, str, str]  # generation, the agent's state, problem
_NAMED, _LONGEST = 5, 1000  # nodes in a message; characters of a problem


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def status(
    known: Mapping[str, Any], generation: Any, node: str, said: Said | None, chosen: Collection[str], when: str
) -> dict[str, Any]:
    """The status that `node` writes: its own entry if it has a result (`said`), and conditions. Unchanged
    conditions keep their time."""
    nodes = {name: each for name, each in (known.get("nodes") or {}).items() if name in chosen}
    if said is not None:
        nodes[node] = {"state": said[1], "problem": said[2][:_LONGEST], "observedGeneration": said[0]}
    before = {each.get("type"): each for each in known.get("conditions") or ()}
    conditions = []
    for each in _conditions(nodes, generation, chosen):
        old = before.get(each["type"], {})
        same = old.get("status") == each["status"]
        conditions.append({**each, "lastTransitionTime": old.get("lastTransitionTime", when) if same else when})
    return {"observedGeneration": generation, "nodes": nodes, "conditions": conditions}


def _conditions(nodes: Mapping[str, Any], generation: Any, chosen: Collection[str]) -> Iterator[dict[str, Any]]:
    here = {name: each for name, each in nodes.items() if each.get("observedGeneration") == generation}
    refused = sorted(name for name, each in here.items() if each["state"] == "refused")
    failed = sorted(name for name, each in here.items() if each["state"] == "failed")
    lacking = sorted(name for name in chosen if here.get(name, {}).get("state") != "applied")
    if not chosen:
        yield _condition("Ready", "False", "HostMismatch", "no node is meant", generation)
        yield _condition("Stalled", "True", "HostMismatch", "no node is meant", generation)
        return
    if not lacking:
        yield _condition("Ready", "True", "InSync", "in force on all nodes", generation)
        return
    reason = "Invalid" if refused else "Failed" if failed else "Pending"
    more = f" and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else ""
    words = f"not in force on {', '.join(lacking[:_NAMED])}{more}"
    bad = (refused or failed)[:1]
    words += f"; {bad[0]}: {here[bad[0]]['problem']}"[:_LONGEST] if bad else ""
    yield _condition("Ready", "False", reason, words, generation)
    yield _condition("Stalled" if refused else "Reconciling", "True", reason, words, generation)


def _condition(kind: str, value: str, reason: str, message: str, generation: Any) -> dict[str, Any]:
    return {"type": kind, "status": value, "reason": reason, "message": message, "observedGeneration": generation}
