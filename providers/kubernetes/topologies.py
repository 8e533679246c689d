"""The custom resource Topology: a topology file as it is, applied by kubectl, put in force on every node that it names.

Its status says for each node how it is there, and in a condition whether it is in force on all of them:

    kubectl wait topology/web --for=condition=Ready
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from providers.kubernetes.api import Api, ApiError
from providers.kubernetes.settings import SOURCE
from providers.kubernetes.state import Object
from providers.kubernetes.watch import Objects, follow
from reconciler.agent.client import DocumentsClient
from reconciler.rpc.contract import RpcError

log = logging.getLogger("pcn.k8s")
PATH = "/apis/polycube.network/v1/topologies"
ABSENT_PAUSE, RETRY = 30.0, 2.0  # seconds until it is asked again whether the resource is there; until a next try
NODES = "topology.polycube.network/nodes"  # the label that names nodes, with * and ?; without it all are meant


@dataclass(slots=True)
class Topologies:
    """Those of one node. `nodes` gives the names of all nodes; `own` is the provider's topology, which none may replace."""

    api: Api
    agent: DocumentsClient
    node: str
    nodes: Callable[[], Iterable[str]]
    own: str
    objects: Objects = field(default_factory=Objects)
    _said: dict[str, tuple[Any, str, str]] = field(default_factory=dict)  # generation, state, problem
    _dirty: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """For ever, where the resource is installed; else until it is."""
        delivering = asyncio.create_task(self._deliver())
        try:
            while True:
                with suppress(ApiError, TimeoutError):
                    await self.api.get(f"{PATH}?limit=1")
                    await follow(self.api, PATH, self.objects, self._dirty.set)
                await asyncio.sleep(ABSENT_PAUSE)
        finally:
            delivering.cancel()

    async def _deliver(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            wanted = {name: item for (_, name), item in self.objects.by_name.items() if self._is_here(item)}
            failed = [name for name, item in sorted(wanted.items()) if not await self._put(name, item)]
            failed += [name for name in sorted(self._said.keys() - wanted.keys()) if not await self._delete(name)]
            for name, item in wanted.items():
                await self._tell(name, item)
            if failed:
                await asyncio.sleep(RETRY)
                self._dirty.set()

    def _is_here(self, item: Object) -> bool:
        label = (item.get("metadata", {}).get("labels") or {}).get(NODES, "*")
        return fnmatchcase(self.node, label)

    async def _put(self, name: str, item: Object) -> bool:
        """False if it is to be tried again."""
        generation = item["metadata"].get("generation")
        if name in self._said and self._said[name][:2] == (generation, "applied"):
            return True
        if name == self.own:
            self._said[name] = generation, "refused", f"{name} is the topology of the node itself"
            return True
        head = {"apiVersion": "polycube.network/v1", "kind": "Topology", "metadata": {"name": name}}
        document = {**head, "spec": item.get("spec", {})}
        try:
            said = await self.agent.put(SOURCE, document, revision=str(generation), wait=20.0)
        except RpcError as error:
            self._said[name] = generation, "waiting", str(error)
            return False
        self._said[name] = generation, said["state"], said["problem"]
        return said["state"] in ("applied", "refused")

    async def _delete(self, name: str) -> bool:
        try:
            said = {"state": "gone"} if name == self.own else await self.agent.delete(SOURCE, name, wait=20.0)
        except RpcError as error:
            log.warning("topology %s is not removed yet: %s", name, error)
            return False
        if said["state"] == "gone":
            del self._said[name]
        return bool(said["state"] == "gone")

    async def _tell(self, name: str, item: Object) -> None:
        """Write this node's part of the status, and the condition that follows from all. The last node to write knows all."""
        known = item.get("status") or {}
        wanted = status(known, self.node, self._said[name], self._chosen(item))
        if wanted != {leaf: known.get(leaf) for leaf in wanted}:
            try:
                await self.api.patch(f"{PATH}/{name}/status", {"status": wanted})
            except (ApiError, TimeoutError) as error:
                log.warning("the status of topology %s is not written: %s", name, error)

    def _chosen(self, item: Object) -> list[str]:
        label = (item.get("metadata", {}).get("labels") or {}).get(NODES, "*")
        return sorted(name for name in self.nodes() if fnmatchcase(name, label))


def status(known: Mapping[str, Any], node: str, said: tuple[Any, str, str], chosen: Iterable[str]) -> dict[str, Any]:
    """What a node writes: itself among `nodes`, and Ready if the generation is in force on all that are chosen."""
    generation, state, problem = said
    mine = {"state": state, "problem": problem[:1000], "observedGeneration": generation}
    nodes = {**{name: each for name, each in (known.get("nodes") or {}).items() if name in set(chosen)}, node: mine}
    lacking = [name for name in chosen if (nodes.get(name, {}).get("state"), nodes.get(name, {}).get("observedGeneration"))
               != ("applied", generation)]  # fmt: skip
    words = "in force on all nodes" if not lacking else f"not in force on {', '.join(lacking[:5])}"
    ready = {"type": "Ready", "status": "False" if lacking else "True", "reason": "Waiting" if lacking else "InForce",
             "message": words, "observedGeneration": generation}  # fmt: skip
    return {"nodes": nodes, "conditions": [ready]}
