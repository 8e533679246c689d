"""Serves the stub (cni/stub.py, stub.c) on a socket of root's.

Request: `NAME=VALUE` and a zero byte for each variable, another zero byte, and the input. Response: the exit code on a line of
its own, and the output.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import suppress

from providers.kubernetes.cni.plugin import Plugin
from reconciler.agent.singleton import socket_name
from reconciler.kernel import rundir

log = logging.getLogger("pcn.k8s")
_MOST, _PATIENCE = 1 << 20, 10.0  # bytes of a call, seconds to receive it


def _words(names: bytes) -> Iterator[tuple[str, str]]:
    for each in names.split(b"\0"):
        name, _, value = each.decode(errors="replace").partition("=")
        yield name, value


class CniServer:
    """Listens from `start` until `close`."""

    def __init__(self, root: str, plugin: Plugin) -> None:
        self._name, self._plugin = socket_name(root, "cni"), plugin
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, sock=rundir.listen(self._name), limit=_MOST)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            rundir.unlink(self._name)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            sock = writer.get_extra_info("socket")
            if not rundir.is_believed(sock):
                return
            async with asyncio.timeout(_PATIENCE):
                said = await reader.read(_MOST)
                while part := await reader.read(_MOST):
                    said += part
                    if len(said) > _MOST:
                        return
            names, _, stdin = said.partition(b"\0\0") if not said.startswith(b"\0") else (b"", b"", said[1:])
            environment = dict(_words(names))
            code, output = await self._plugin.call(environment, stdin)
            if code:
                log.warning("CNI %s of %s: %s", environment.get("CNI_COMMAND"), environment.get("CNI_ARGS", ""), output)
            writer.write(f"{code}\n{output}".encode())
            await writer.drain()
        except (TimeoutError, ConnectionError):
            pass
        except Exception:
            log.exception("a mistake in the CNI plugin; the provider goes on")
            writer.write(b'1\n{"cniVersion": "1.0.0", "code": 999, "msg": "a mistake in the provider, see its log"}')
        finally:
            with suppress(OSError):
                writer.close()
