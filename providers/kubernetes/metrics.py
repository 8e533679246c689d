"""The provider's status as Prometheus metrics. Those of the datapath are the agent's."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from reconciler.agent.server import http

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PATIENCE, _MOST = 5.0, 8192
Value = tuple[str, float]
"""Formatted labels, and a number."""


def page(said: Mapping[str, Any]) -> str:
    """`Node.status` in the exposition format."""
    return "".join(
        f"# HELP {name} {text}\n# TYPE {name} gauge\n" + "".join(f"{name}{labels} {value}\n" for labels, value in values)
        for name, text, values in _families(said)
    )


def _families(said: Mapping[str, Any]) -> Iterator[tuple[str, str, list[Value]]]:
    last = said["last_problem"]["at"] if said["last_problem"] else 0
    of_kinds = [(f'{{kind="{kind}"}}', count) for kind, count in said["objects"].items()]
    listed = [(f'{{kind="{kind}"}}', float(is_synced)) for kind, is_synced in said["synced"].items()]
    yield "pcn_k8s_in_force", "Whether the node's topology is in force (1) or not (0).", [("", float(said["healthy"]))]
    yield "pcn_k8s_in_force_since_seconds", "When the agent last put it in force, since 1970.", [("", said["in_force_since"])]
    yield "pcn_k8s_last_problem_seconds", "When something last went wrong, since 1970; 0: never.", [("", last)]
    yield "pcn_k8s_pending", "What has to come until all that is known is in force.", [("", len(said["pending"]))]
    yield "pcn_k8s_objects", "Objects of the API that are known.", of_kinds
    yield "pcn_k8s_listed", "Whether a kind was listed once, or is not there.", listed
    yield "pcn_k8s_pods", "Pods that are attached on this node.", [("", said["attached"])]
    yield "pcn_k8s_slots", "How many there may be.", [("", said["slots"])]
    yield "pcn_k8s_notes", "Wishes of the cluster that are not in force, as pcn-k8s status tells.", [("", len(said["notes"]))]


async def serve(listener: socket.socket, status: Callable[[], Mapping[str, Any]]) -> asyncio.Server:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            request = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _PATIENCE)
            writer.write(http(request, lambda: page(status()).encode(), CONTENT_TYPE))
            await writer.drain()
        writer.close()

    listener.setblocking(False)
    return await asyncio.start_server(answer, sock=listener, limit=_MOST)
