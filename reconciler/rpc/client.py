"""Calls a service, from asyncio. Whatever it answers, or does not, a call ends within its time."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

import h11

from reconciler.kernel import rundir
from reconciler.rpc.contract import BOUNDS, VERSION, Bounds, RpcError, decode, encode

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[], Awaitable[Streams]]
TIMEOUTS, PAUSE = 3, 5.0  # after so many in a row, calls fail at once for so many seconds
_CHUNK = 1 << 16


class _Open:
    """A connection that is between two calls, or in one."""

    def __init__(self, streams: Streams) -> None:
        self.reader, self.writer = streams
        self.http = h11.Connection(h11.CLIENT)


class Client:
    """One service. `connect` opens a connection; at most `bounds.in_flight` are open."""

    def __init__(self, name: str, connect: Connect, bounds: Bounds = BOUNDS) -> None:
        self.name, self._connect, self._bounds = name, connect, bounds
        self._free: list[_Open] = []
        self._turn = asyncio.Semaphore(bounds.in_flight)
        self._timeouts, self._not_before = 0, 0.0

    async def service(self) -> dict[str, Any]:
        """What serves, and which functions it has. Raises RpcError if it speaks another version of the contract."""
        found = await self.call("service", method="GET")
        if not isinstance(found, dict) or found.get("contract") != VERSION:
            raise RpcError(f"service {self.name} does not speak version {VERSION} of the contract")
        return found

    async def call(self, function: str, argument: Any = None, *, method: str = "POST", seconds: float | None = None) -> Any:
        """Raises RpcError: it is away, too slow, or says no."""
        if time.monotonic() < self._not_before:
            raise RpcError(f"service {self.name} has not answered {TIMEOUTS} times in a row")
        allowed = self._bounds.seconds if seconds is None else seconds
        try:
            async with asyncio.timeout(allowed), self._turn:
                status, body = await self._exchange(function, method, b"" if argument is None else encode(argument))
        except TimeoutError:
            self._timeouts += 1
            if self._timeouts >= TIMEOUTS:
                self._timeouts, self._not_before = 0, time.monotonic() + PAUSE
            raise RpcError(f"service {self.name} did not answer {function} within {allowed:g} s") from None
        except (OSError, EOFError, h11.ProtocolError) as error:
            raise RpcError(f"service {self.name} is away: {error}") from None
        self._timeouts = 0
        value = decode(body, self._bounds)
        if status != 200:
            words = value.get("error", "") if isinstance(value, dict) else ""
            raise RpcError(f"service {self.name}: {function}: {words or status}", status)
        return value

    async def _exchange(self, function: str, method: str, body: bytes) -> tuple[int, bytes]:
        link = self._free.pop() if self._free else _Open(await self._connect())
        try:
            headers = [("Host", self.name), ("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
            sent = [h11.Request(method=method, target=f"/{function}", headers=headers), h11.Data(data=body), h11.EndOfMessage()]
            link.writer.write(b"".join(link.http.send(event) or b"" for event in sent))
            await link.writer.drain()
            found = await self._response(link)
            link.http.start_next_cycle()
        except BaseException:
            link.writer.close()
            raise
        self._free.append(link)
        return found

    async def _response(self, link: _Open) -> tuple[int, bytes]:
        status, body = 0, bytearray()
        while True:
            event = link.http.next_event()
            if event is h11.NEED_DATA:
                link.http.receive_data(await link.reader.read(_CHUNK))
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > self._bounds.body:
                    raise EOFError(f"it answers with more than {self._bounds.body} bytes")
            elif isinstance(event, h11.EndOfMessage):
                return status, bytes(body)
            elif isinstance(event, h11.ConnectionClosed):
                raise EOFError("it closed the connection")

    def close(self) -> None:
        for link in self._free:
            link.writer.close()
        self._free.clear()


def local(service: str) -> Connect:
    """Connections to a service of this host: its socket in pcn's run directory, which root must hold."""
    if os.path.basename(service) != service:
        raise RpcError(f"{service!r} is no name of a service")

    async def connect() -> Streams:
        sock = rundir.connect(f"{service}.service.sock", BOUNDS.seconds)
        sock.setblocking(False)
        return await asyncio.open_unix_connection(sock=sock)

    return connect


def inherited(sockets: list[socket.socket]) -> Connect:
    """The near ends of socket pairs, each used once."""

    async def connect() -> Streams:
        if not sockets:
            raise ConnectionError("no connection is left")
        return await asyncio.open_unix_connection(sock=sockets.pop(0))

    return connect
