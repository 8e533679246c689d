"""All that a node's provider runs: watches, the CNI plugin's socket, health checks, the host's routes, and its own status."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from providers.kubernetes import host, install
from providers.kubernetes.api import Access, Api
from providers.kubernetes.cni.plugin import Plugin
from providers.kubernetes.cni.server import CniServer
from providers.kubernetes.document import NodeDocument
from providers.kubernetes.health import HealthChecks
from providers.kubernetes.metrics import serve
from providers.kubernetes.provider import Provider
from providers.kubernetes.settings import Settings
from providers.kubernetes.topologies import Topologies
from reconciler.agent.client import DocumentsClient
from reconciler.agent.singleton import socket_name
from reconciler.kernel import rundir

log = logging.getLogger("pcn.k8s")


class Node:
    """One node. `configuration` is where the CNI configuration is written after the first sync, '' for nowhere."""

    def __init__(
        self, settings: Settings, name: str, access: Access, root: str, configuration: str = "", health: str = "",
        metrics: socket.socket | None = None,
    ) -> None:  # fmt: skip
        self._root, self._configuration = root, configuration
        self._agent = DocumentsClient(root)
        self.provider = Provider(settings, name, Api(access), self._agent, self._in_force)
        provider = self.provider
        plugin = Plugin(lambda: provider.settings, root, provider.families, provider.attach, provider.gone, provider.trouble)
        self._cni = CniServer(root, plugin)
        self._topologies = Topologies(provider.api, self._agent, name, self._labels, settings.topology)
        self._health = HealthChecks(health)
        self._metrics = metrics
        self._page: asyncio.Server | None = None
        self._answers = {socket_name(root, "k8s"): self.status, socket_name(root, "k8s-names"): provider.names}
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._notes: tuple[str, ...] = ()
        self._is_installed = False

    async def run(self) -> None:
        """Runs until it is cancelled."""
        await self._cni.start()
        for name, answer in self._answers.items():
            self._servers.append(await asyncio.start_unix_server(_telling(answer), sock=rundir.listen(name)))
        if self._metrics is not None:
            self._page = await serve(self._metrics, self.status)
        self._start(self._topologies.run())
        await self.provider.run()

    def _labels(self) -> dict[str, dict[str, str]]:
        """The labels of all nodes, by name."""
        found = self.provider.objects["nodes"].by_name
        return {name: node.get("metadata", {}).get("labels") or {} for (_, name), node in found.items()}

    async def close(self) -> None:
        """Stop serving. The kernel's state stays."""
        await self._cni.close()
        await self._health.close()
        if self._page is not None:
            self._page.close()
        for server, name in zip(self._servers, self._answers, strict=False):
            server.close()
            rundir.unlink(name)
        self._agent.close()

    def _in_force(self, made: NodeDocument) -> None:
        self._notes = tuple(made.notes)
        self._start(self._health.serve(made.health))
        self._start(asyncio.to_thread(host.keep, made.routes, made.tunnels))
        if self._configuration and not self._is_installed:
            install.conflist(Path(self._configuration))
            self._is_installed = True
            log.info("this node takes pods: %s/%s is written", self._configuration, install.CONFLIST)

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(_logged(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def status(self) -> Mapping[str, Any]:
        provider = self.provider
        return {
            "format_version": "1.0",
            "node": provider.node,
            "healthy": not provider.problem and provider.is_synced(),
            "problem": provider.problem,
            "pending": provider.pending(),
            "last_problem": dict(zip(("at", "words"), provider.last_problem, strict=True)) if provider.last_problem else None,
            "in_force_since": provider.landed_at,
            "objects": {kind: len(each.by_name) for kind, each in provider.objects.items()},
            "synced": {kind: each.is_synced for kind, each in provider.objects.items()},
            "attached": len(provider.attached),
            "slots": provider.settings.slots,
            "notes": list(self._notes),
        }



def _telling(answer: Callable[[], Mapping[str, Any]]) -> Callable[..., Awaitable[None]]:
    """A handler that writes the answer to each authorised client."""

    async def tell(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            if rundir.is_believed(writer.get_extra_info("socket")):
                writer.write(json.dumps(answer()).encode())
                await writer.drain()
            writer.close()

    return tell


async def _logged(work: Any) -> None:
    try:
        await work
    except OSError as error:
        log.error("%s", error)
    except Exception:
        log.exception("a mistake in the provider; it goes on")
