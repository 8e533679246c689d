"""One call over HTTP/1.1: bytes out, bytes in, and their meaning. No I/O, so that it suits threads and event loops."""

from __future__ import annotations

import time

import h11

from reconciler.rpc.contract import BOUNDS, Bounds, RpcError, decode, encode

CLOSED = "it closed the connection"
TIMEOUTS, PAUSE = 3, 5.0  # after so many in a row, calls fail at once for so many seconds


class Exchange:
    """The client's side of one connection, for sequential calls."""

    def __init__(self, host: str, bounds: Bounds = BOUNDS) -> None:
        self._host, self._bounds = host, bounds
        self._http = h11.Connection(h11.CLIENT)
        self._status, self._body = 0, bytearray()

    def begin(self, function: str, method: str, argument: object = None) -> bytes:
        """The bytes of a request. Raises RpcError if its body is out of bounds."""
        body = b"" if argument is None else encode(argument)
        if len(body) > self._bounds.body:
            raise RpcError(f"{function} would be asked with more than {self._bounds.body} bytes")
        self._status, self._body = 0, bytearray()
        headers = [("Host", self._host), ("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        events = (h11.Request(method=method, target=f"/{function}", headers=headers), h11.Data(data=body), h11.EndOfMessage())
        return b"".join(self._http.send(event) or b"" for event in events)

    def receive(self, data: bytes) -> bool:
        """Feed received bytes, b'' for EOF. Returns whether the response is complete. Raises EOFError, h11.ProtocolError."""
        if not data:
            raise EOFError(CLOSED)
        self._http.receive_data(data)
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                return False
            if isinstance(event, h11.Response):
                self._status = event.status_code
                self._bound(next((int(value) for name, value in event.headers if name == b"content-length"), 0))
            elif isinstance(event, h11.Data):
                self._body += event.data
                self._bound(len(self._body))
            elif isinstance(event, h11.EndOfMessage):
                self._http.start_next_cycle()
                return True
            elif isinstance(event, h11.ConnectionClosed):
                raise EOFError(CLOSED)

    def _bound(self, length: int) -> None:
        if length > self._bounds.body:
            raise EOFError(f"it answers with more than {self._bounds.body} bytes")

    def answer(self) -> tuple[int, bytes]:
        return self._status, bytes(self._body)


def value_of(name: str, function: str, status: int, body: bytes, bounds: Bounds = BOUNDS) -> object:
    """The value of a response. Raises RpcError for an error, and for invalid JSON or a body out of bounds."""
    try:
        value = decode(body, bounds)
    except RpcError as error:
        raise RpcError(f"service {name} answers {function} with what cannot be read: {error}", status) from None
    if status != 200:
        words = value.get("error", "") if isinstance(value, dict) else ""
        raise RpcError(f"service {name}: {function}: {words or status}", status)
    return value


class Breaker:
    """A circuit breaker: after TIMEOUTS timeouts in a row, calls fail at once for PAUSE seconds."""

    def __init__(self) -> None:
        self._timeouts, self._not_before = 0, 0.0

    def check(self, name: str) -> None:
        """Raises RpcError while it is open."""
        if time.monotonic() < self._not_before:
            raise RpcError(f"service {name} has not answered {TIMEOUTS} times in a row")

    def answered(self) -> None:
        self._timeouts = 0

    def timed_out(self) -> None:
        self._timeouts += 1
        if self._timeouts >= TIMEOUTS:
            self._timeouts, self._not_before = 0, time.monotonic() + PAUSE
