"""Health checks of services with externalTrafficPolicy Local: an external load balancer probes each node for endpoints."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

log = logging.getLogger("pcn.k8s")
Checks = Mapping[int, tuple[str, str, int]]
_PATIENCE, _MOST = 5.0, 8192


class HealthChecks:
    """Answers at each port of `serve` with 200 where the service has endpoints on this node, and with 503 where it has none."""

    def __init__(self, address: str = "") -> None:
        self._address = address or None
        self._checks: Checks = {}
        self._servers: dict[int, asyncio.Server] = {}

    async def serve(self, checks: Checks) -> None:
        """Replace the checks: (namespace, name, number of endpoints here) by port."""
        self._checks = checks
        for port in self._servers.keys() - checks.keys():
            self._servers.pop(port).close()
        for port in checks.keys() - self._servers.keys():
            try:
                self._servers[port] = await asyncio.start_server(self._of(port), self._address, port, limit=_MOST)
            except OSError as error:
                log.error("health checks of %s/%s are not answered: port %d: %s", *checks[port][:2], port, error)

    async def close(self) -> None:
        await self.serve({})

    def _of(self, port: int) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _PATIENCE)
                writer.write(response(*self._checks[port]) if port in self._checks else b"")
                await writer.drain()
            writer.close()

        return answer


def response(namespace: str, name: str, endpoints: int) -> bytes:
    """The HTTP response, equal to kube-proxy's."""
    body = json.dumps({"service": {"namespace": namespace, "name": name}, "localEndpoints": endpoints}).encode()
    status = "200 OK" if endpoints else "503 Service Unavailable"
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body
