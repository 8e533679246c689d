"""Serves calls on one socket, inside any event loop. No threads, no coroutines: a worker imports neither.

h11 parses and serializes HTTP; this module enforces the bounds, and dispatches to the function.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Any

import h11

from reconciler.kernel import rundir
from reconciler.rpc.contract import BOUNDS, Bounds, RpcError, decode, encode

Function = Callable[[Any], Any]
LATER: Any = object()
"""Returned by a function that replies later, with `Connection.reply`."""
_CHUNK = 1 << 16


class Connection:
    """One peer. `functions` by method and path, such as 'POST /tick'. The event loop checks `closed` after each call of
    `readable` or `writable`, and waits for writability while `unsent`."""

    def __init__(self, sock: socket.socket, functions: Mapping[str, Function], bounds: Bounds = BOUNDS) -> None:
        sock.setblocking(False)
        self._sock, self._functions, self._bounds = sock, functions, bounds
        self._http = h11.Connection(h11.SERVER)
        self._request: h11.Request | None = None
        self._body = bytearray()
        self._out = bytearray()
        self._ended = False
        self.closed = False

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self.closed = True
        self._sock.close()

    @property
    def unsent(self) -> bool:
        return bool(self._out) and not self.closed

    def readable(self) -> None:
        """Read what arrived, and answer complete requests."""
        try:
            data = self._sock.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        try:
            self._http.receive_data(data)
            self._advance()
        except h11.RemoteProtocolError:
            self.close()

    def writable(self) -> None:
        try:
            del self._out[: self._sock.send(self._out)]
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if not self._out and self._ended:
            self.close()

    def reply(self, status: int, value: Any) -> None:
        """Send the response of the pending call."""
        body = encode(value)
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        self._out += self._http.send(h11.Response(status_code=status, headers=headers)) or b""
        self._out += self._http.send(h11.Data(data=body)) or b""
        self._out += self._http.send(h11.EndOfMessage()) or b""
        self._request = None
        if self._http.our_state is h11.MUST_CLOSE:
            self._ended = True
        self.writable()
        if not self.closed and not self._ended and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            self._advance()

    def _advance(self) -> None:
        while not self.closed and not self._ended:
            event = self._http.next_event()
            if event is h11.NEED_DATA or event is h11.PAUSED:
                return
            if isinstance(event, h11.ConnectionClosed):
                self.close()
            elif isinstance(event, h11.Request):
                self._request, self._body = event, bytearray()
            elif isinstance(event, h11.Data):
                self._body += event.data
                if len(self._body) > self._bounds.body:
                    self.close()  # the rest is not awaited
            elif isinstance(event, h11.EndOfMessage):
                self._answer()
                return

    def _answer(self) -> None:
        assert self._request is not None
        name = f"{self._request.method.decode()} {self._request.target.decode().partition('?')[0]}"
        function = self._functions.get(name)
        if function is None:
            self.reply(404, {"error": f"there is no {name}"})
            return
        try:
            answer = function(decode(bytes(self._body), self._bounds))
        except RpcError as error:
            self.reply(400, {"error": str(error)})
        except Exception as error:  # noqa: BLE001 - the caller gets the error, and later calls are served
            self.reply(500, {"error": f"{type(error).__name__}: {error}"})
        else:
            if answer is not LATER:
                self.reply(200, answer)


def accept(listening: socket.socket) -> socket.socket | None:
    """The next peer of a socket from `rundir.listen`; None if it is not root's, or has disconnected."""
    try:
        sock, _ = listening.accept()
    except OSError:
        return None
    if rundir.is_believed(sock):
        return sock
    sock.close()
    return None
