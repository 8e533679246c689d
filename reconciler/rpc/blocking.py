"""Blocking calls of a service, from the thread of a planner or a worker.

    caller = Caller("gate", connect)          # connect(seconds) returns a connected socket
    caller.call("tables", {...})              # within 2 s, whatever the peer does
"""

from __future__ import annotations

import socket
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import h11

from reconciler.rpc.contract import BOUNDS, PURE, Bounds, RpcError
from reconciler.rpc.exchange import Breaker, Exchange, value_of

Connect = Callable[[float], socket.socket]
"""Returns a connected socket, within so many seconds. Raises OSError."""
Greet = Callable[[Any], None]
"""Gets the peer's response to `service`, once for each connection. Raises PcnError to reject the peer."""
_CHUNK = 1 << 16


class Away(RpcError):
    """No response: the peer is unreachable, missed the deadline, or the breaker is open."""


class _Link:
    def __init__(self, sock: socket.socket, exchange: Exchange) -> None:
        self.sock, self.exchange = sock, exchange

    def ask(self, function: str, method: str, argument: Any, until: float) -> tuple[int, bytes]:
        self.sock.settimeout(_left(until))
        self.sock.sendall(self.exchange.begin(function, method, argument))
        while True:
            self.sock.settimeout(_left(until))
            if self.exchange.receive(self.sock.recv(_CHUNK)):
                return self.exchange.answer()


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


class Caller:
    """One service. Threads may share it: at most `bounds.in_flight` calls are in progress. A connection of an earlier call is
    reused; if the peer has closed it, idempotent calls are retried on a new one."""

    def __init__(self, name: str, connect: Connect, greet: Greet | None = None, bounds: Bounds | None = None) -> None:
        bounds = bounds or BOUNDS
        self.name, self._connect, self._greet, self._bounds = name, connect, greet, bounds
        self._free: list[_Link] = []
        self._turn = threading.BoundedSemaphore(bounds.in_flight)
        self._breaker = Breaker()
        weakref.finalize(self, _close, self._free)

    def call(self, function: str, argument: Any = None, *, method: str = "POST", seconds: float | None = None) -> Any:
        """Returns the value of the response. Raises Away, RpcError for an error or an invalid response, and errors of `greet`."""
        self._breaker_check()
        allowed = self._bounds.seconds if seconds is None else seconds
        until = time.monotonic() + allowed
        try:
            if not self._turn.acquire(timeout=allowed):
                raise TimeoutError
            try:
                status, body = self._ask(function, method, argument, until)
            finally:
                self._turn.release()
        except TimeoutError:
            self._breaker.timed_out()
            raise Away(f"it did not answer {function} within {allowed:g} s") from None
        except (OSError, EOFError, h11.ProtocolError) as error:
            raise Away(getattr(error, "strerror", None) or str(error)) from None
        self._breaker.answered()
        return value_of(self.name, function, status, body, self._bounds)

    def _breaker_check(self) -> None:
        try:
            self._breaker.check(self.name)
        except RpcError as error:
            raise Away(str(error)) from None

    def _ask(self, function: str, method: str, argument: Any, until: float) -> tuple[int, bytes]:
        reused = self._free.pop() if self._free else None
        if reused is not None:
            try:
                return self._on(reused, function, method, argument, until)
            except (OSError, EOFError, h11.ProtocolError) as error:
                if isinstance(error, TimeoutError) or function not in PURE | {"service", "cubes"}:
                    raise
        return self._on(self._open(until), function, method, argument, until)

    def _on(self, link: _Link, function: str, method: str, argument: Any, until: float) -> tuple[int, bytes]:
        try:
            found = link.ask(function, method, argument, until)
        except BaseException:
            link.sock.close()
            raise
        self._free.append(link)
        return found

    def _open(self, until: float) -> _Link:
        link = _Link(self._connect(_left(until)), Exchange(self.name, self._bounds))
        try:
            if self._greet is not None:
                status, body = link.ask("service", "GET", None, until)
                self._greet(value_of(self.name, "service", status, body, self._bounds))
        except BaseException:
            link.sock.close()
            raise
        return link

    def close(self) -> None:
        _close(self._free)


def _close(links: list[_Link]) -> None:
    while links:
        links.pop().sock.close()
