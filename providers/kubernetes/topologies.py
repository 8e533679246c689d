"""The custom resource Topology: a topology file as it is, applied by kubectl, in force on every node that
`spec.hosts` selects by name and label of the Node, and the label topology.polycube.network/nodes by name.

Its status has an entry for each node, and conditions that summarise all of them (conditions.py):

    kubectl wait topology/web --for=condition=Ready
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

from providers.kubernetes.api import Api, ApiError
from providers.kubernetes.conditions import now, status
from providers.kubernetes.settings import SOURCE
from providers.kubernetes.state import Object
from providers.kubernetes.watch import Objects, follow
from reconciler.agent.client import DocumentsClient
from reconciler.document import Document
from reconciler.document.hosts import Host, is_for, is_suspended
from reconciler.rpc.contract import RpcError

log = logging.getLogger("pcn.k8s")
PATH = "/apis/polycube.network/v1/topologies"
ABSENT_PAUSE, RETRY, AGAIN = 30.0, 2.0, 10.0  # seconds between checks for the resource; to a retry; between deliveries
NODES = "topology.polycube.network/nodes"  # the label with a pattern of node names (*, ?); without it: all
REQUESTED = "pcn/requestedAt"  # an annotation: when it changes, the topology is delivered again


@dataclass(slots=True)
class Topologies:
    """The resources of one node. `nodes` returns all nodes' labels by name; `own` is the provider's topology, which no resource
    may replace."""

    api: Api
    agent: DocumentsClient
    node: str
    nodes: Callable[[], Mapping[str, Mapping[str, str]]]
    own: str
    objects: Objects = field(default_factory=Objects)
    _said: dict[str, tuple[Any, str, str]] = field(default_factory=dict)  # generation, state, problem
    _asked: dict[str, str] = field(default_factory=dict)  # the annotation pcn/requestedAt at the last delivery
    _dirty: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Runs for ever. While the resource is not installed, it checks for it every ABSENT_PAUSE seconds."""
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
            with suppress(TimeoutError):  # nodes' labels may have changed
                async with asyncio.timeout(AGAIN):
                    await self._dirty.wait()
            self._dirty.clear()
            items = {name: item for (_, name), item in self.objects.by_name.items()}
            wanted = {name: item for name, item in items.items() if self._is_here(name, item)}
            taken = {name: item for name, item in wanted.items() if not is_suspended(_document(name, item))}
            failed = [name for name, item in sorted(taken.items()) if not await self._put(name, item)]
            failed += [name for name in sorted(self._said.keys() - wanted.keys()) if not await self._delete(name)]
            for name, item in taken.items():
                await self._tell(name, item, self._said[name])
            for name, item in items.items():
                if not self._chosen(name, item) and self.node == min(self.nodes(), default=""):
                    await self._tell(name, item, None)
            if failed:
                await asyncio.sleep(RETRY)
                self._dirty.set()

    def _is_here(self, name: str, item: Object) -> bool:
        return is_meant(name, item, self.node, self.nodes().get(self.node, {}))

    async def _put(self, name: str, item: Object) -> bool:
        """Deliver to the agent; False if it has to be retried."""
        generation = item["metadata"].get("generation")
        requested = str((item["metadata"].get("annotations") or {}).get(REQUESTED, ""))
        if name in self._said and self._said[name][:2] == (generation, "applied") and self._asked.get(name, "") == requested:
            return True
        if name == self.own:
            self._said[name] = generation, "refused", f"{name} is the topology of the node itself"
            return True
        try:
            said = await self.agent.put(SOURCE, _given(name, item), revision=str(generation), wait=20.0)
        except RpcError as error:
            self._said[name] = generation, "waiting", str(error)
            return False
        self._said[name], self._asked[name] = (generation, said["state"], said["problem"]), requested
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

    async def _tell(self, name: str, item: Object, said: tuple[Any, str, str] | None) -> None:
        """Write this node's part of the status, and the conditions derived from all parts. The last node to
        write sees all of them."""
        known = item.get("status") or {}
        generation = item["metadata"].get("generation")
        wanted = status(known, generation, self.node, said, self._chosen(name, item), now())
        if wanted != {leaf: known.get(leaf) for leaf in wanted}:
            gone = dict.fromkeys((known.get("nodes") or {}).keys() - wanted["nodes"].keys())  # null deletes, in a merge patch
            try:
                await self.api.patch(f"{PATH}/{name}/status", {"status": {**wanted, "nodes": {**gone, **wanted["nodes"]}}})
            except (ApiError, TimeoutError) as error:
                log.warning("the status of topology %s is not written: %s", name, error)

    def _chosen(self, name: str, item: Object) -> list[str]:
        is_chosen = partial(is_meant, name, item)
        return sorted(node for node, labels in self.nodes().items() if is_chosen(node, labels))


def is_meant(name: str, item: Object, node: str, labels: Mapping[str, str]) -> bool:
    """Whether a topology selects a node with these labels."""
    label = (item.get("metadata", {}).get("labels") or {}).get(NODES, "*")
    return fnmatchcase(node, label) and is_for(_document(name, item), Host({**labels, "hostname": node}))


def _document(name: str, item: Object) -> Document:
    return Document(f"{SOURCE}:{name}", "", {"metadata": _head(name, item), "spec": item.get("spec", {})})


def _head(name: str, item: Object) -> dict[str, Any]:
    """The topology's metadata: its name, and pcn's annotations."""
    said = (item.get("metadata") or {}).get("annotations") or {}
    kept = {key: value for key, value in said.items() if key.startswith("pcn/") and key != REQUESTED}
    return {"name": name, **({"annotations": kept} if kept else {})}


def _given(name: str, item: Object) -> dict[str, Any]:
    """The document for the agent, without the fields that select nodes."""
    spec = {key: value for key, value in (item.get("spec") or {}).items() if key != "hosts"}
    return {"apiVersion": "polycube.network/v1", "kind": "Topology", "metadata": _head(name, item), "spec": spec}
