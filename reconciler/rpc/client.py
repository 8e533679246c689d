"""Calls a service from asyncio. Every call has a deadline, whatever the peer does."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import h11

from reconciler.rpc.contract import BOUNDS, VERSION, Bounds, RpcError
from reconciler.rpc.exchange import Breaker, Exchange, value_of

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[], Awaitable[Streams]]
_CHUNK = 1 << 16


class Client:
    """One service. `connect` opens a connection; at most `bounds.in_flight` are open."""

    def __init__(self, name: str, connect: Connect, bounds: Bounds = BOUNDS) -> None:
        self.name, self._connect, self._bounds = name, connect, bounds
        self._free: list[tuple[Streams, Exchange]] = []
        self._turn = asyncio.Semaphore(bounds.in_flight)
        self._breaker = Breaker()

    async def service(self) -> dict[str, Any]:
        """The peer's description, with its functions. Raises RpcError, also for another version of the contract."""
        found = await self.call("service", method="GET")
        if not isinstance(found, dict) or found.get("contract") != VERSION:
            raise RpcError(f"service {self.name} does not speak version {VERSION} of the contract")
        return found

    async def call(self, function: str, argument: Any = None, *, method: str = "POST", seconds: float | None = None) -> Any:
        """Raises RpcError: the service is unreachable, missed the deadline, or refused."""
        self._breaker.check(self.name)
        allowed = self._bounds.seconds if seconds is None else seconds
        try:
            async with asyncio.timeout(allowed), self._turn:
                status, body = await self._exchange(function, method, argument)
        except TimeoutError:
            self._breaker.timed_out()
            raise RpcError(f"service {self.name} did not answer {function} within {allowed:g} s") from None
        except (OSError, EOFError, h11.ProtocolError) as error:
            raise RpcError(f"service {self.name} is away: {error}") from None
        self._breaker.answered()
        return value_of(self.name, function, status, body, self._bounds)

    async def _exchange(self, function: str, method: str, argument: Any) -> tuple[int, bytes]:
        streams, exchange = self._free.pop() if self._free else (await self._connect(), Exchange(self.name, self._bounds))
        reader, writer = streams
        try:
            writer.write(exchange.begin(function, method, argument))
            await writer.drain()
            while not exchange.receive(await reader.read(_CHUNK)):
                pass
        except BaseException:
            writer.close()
            raise
        self._free.append((streams, exchange))
        return exchange.answer()

    def close(self) -> None:
        for (_, writer), _ in self._free:
            writer.close()
        self._free.clear()


def inherited(sockets: list[socket.socket]) -> Connect:
    """Connections over the near ends of socket pairs, each used once."""

    async def connect() -> Streams:
        if not sockets:
            raise ConnectionError("no connection is left")
        return await asyncio.open_unix_connection(sock=sockets.pop(0))

    return connect
