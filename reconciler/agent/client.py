"""asyncio client of the agent's documents socket (agent/sources), for sources of topologies.

    agent = DocumentsClient("/sys/fs/bpf/pcn")
    said = await agent.put("kubernetes", document, revision="8123")
    said["state"]                                             # applied, refused, failed or waiting
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from reconciler.agent.singleton import socket_name
from reconciler.kernel import rundir
from reconciler.rpc.client import Client, Streams
from reconciler.rpc.contract import Bounds

_MARGIN = 5.0  # seconds of network timeout beyond the agent's own `wait`


class DocumentsClient:
    """Client of the agent of a bpffs root. Every method raises RpcError if there is none, or it refuses."""

    def __init__(self, root: str) -> None:
        name = socket_name(root, "documents")

        async def connect() -> Streams:
            sock = rundir.connect(name, 2.0)
            sock.setblocking(False)
            return await asyncio.open_unix_connection(sock=sock)

        self._client = Client("agent", connect, Bounds(in_flight=8))

    async def put(self, source: str, document: Mapping[str, Any], *, revision: str = "", wait: float = 5.0) -> dict[str, Any]:
        """Create or replace a topology; returns its state after `wait` seconds at the latest."""
        said = {"source": source, "revision": revision, "document": document, "wait": wait}
        return await self._call("PUT", "topology", said, wait)

    async def patch(
        self, source: str, topology: str, edits: Sequence[Mapping[str, Any]], *, since: str, revision: str, wait: float = 5.0
    ) -> dict[str, Any]:
        """Edit a few entries of the topology, of which the agent has revision `since`. Raises RpcError, with status 400 if it has
        another revision or an edit is invalid: then nothing is changed."""
        said = {"source": source, "topology": topology, "since": since, "revision": revision, "edits": list(edits), "wait": wait}
        return await self._call("PATCH", "topology", said, wait)

    async def delete(self, source: str, topology: str, *, wait: float = 5.0) -> dict[str, Any]:
        """Delete a topology."""
        return await self._call("DELETE", "topology", {"source": source, "topology": topology, "wait": wait}, wait)

    async def topologies(self) -> list[dict[str, Any]]:
        """All topologies that sources submitted since the agent started."""
        found = await self._call("GET", "topologies", None, 0.0)
        return list(found["topologies"])

    async def look(self, ports: Collection[str] = (), *, wait: float = 0.0) -> dict[str, Any]:
        """Poll the kernel now, and wait until each of these ports ("cube:port") is connected to its netdev."""
        return await self._call("POST", "look", {"ports": list(ports), "wait": wait}, wait)

    async def sync(self, *, wait: float = 30.0) -> dict[str, Any]:
        """Fetch from all sources, read all files and poll the kernel, now."""
        return await self._call("POST", "sync", {"wait": wait}, wait)

    async def _call(self, method: str, what: str, said: Any, wait: float) -> dict[str, Any]:
        found: dict[str, Any] = await self._client.call(what, said, method=method, seconds=wait + _MARGIN)
        return found

    def close(self) -> None:
        self._client.close()
