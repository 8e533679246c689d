"""Request-reply sockets in the event loop: the status, and metrics over HTTP.

No client can block the agent: I/O does not block, requests are short, connections few and brief. Nor can clients lock others out:
above the limit, the oldest connection without a request is closed. Unix sockets answer root only.
"""
from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable

from reconciler.agent.loop import Loop
from reconciler.errors import UsageError
from reconciler.kernel import rundir, trusted

Answer = Callable[[bytes], bytes]
_MOST_BYTES, _MOST_CONNECTIONS, _PATIENCE = 8192, 32, 5.0


class Server:
    """`answer` maps a request, terminated by `until`, to the entire reply; without `until` no request is read."""

    def __init__(self, loop: Loop, listener: socket.socket, answer: Answer, until: bytes = b"") -> None:
        self._loop, self._listener, self._answer, self._until = loop, listener, answer, until
        self._open: dict[int, _Connection] = {}
        self._count = 0
        listener.setblocking(False)
        loop.readable(listener, self._accept)

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:  # disconnected already
            return
        if sock.family == socket.AF_UNIX and not rundir.is_believed(sock):
            sock.close()
            return
        if len(self._open) >= _MOST_CONNECTIONS:
            self._end(next((number for number, each in self._open.items() if not each.reply), min(self._open)))
        self._count += 1
        number = self._count
        sock.setblocking(False)
        connection = self._open[number] = _Connection(sock)
        self._loop.readable(sock, lambda: self._request(number))
        self._loop.after(f"connection {number} at {self._listener.fileno()}", _PATIENCE, lambda: self._end(number))
        if not self._until:
            self._reply(number, connection)

    def _request(self, number: int) -> None:
        connection = self._open[number]
        try:
            data = connection.sock.recv(_MOST_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        connection.request += data
        if not data or len(connection.request) > _MOST_BYTES:
            self._end(number)
        elif self._until in connection.request:
            self._reply(number, connection)

    def _reply(self, number: int, connection: _Connection) -> None:
        connection.reply = memoryview(self._answer(bytes(connection.request)))
        self._loop.writable(connection.sock, lambda: self._write(number))

    def _write(self, number: int) -> None:
        connection = self._open[number]
        try:
            connection.reply = connection.reply[connection.sock.send(connection.reply) :]
        except BlockingIOError:
            return
        except OSError:
            connection.reply = memoryview(b"")
        if not connection.reply:
            self._end(number)

    def _end(self, number: int) -> None:
        connection = self._open.pop(number, None)
        if connection is not None:
            self._loop.forget(connection.sock)
            connection.sock.close()

    def close(self) -> None:
        for number in list(self._open):
            self._end(number)
        self._loop.forget(self._listener)
        self._listener.close()


class _Connection:
    def __init__(self, sock: socket.socket) -> None:
        self.sock, self.request, self.reply = sock, bytearray(), memoryview(b"")


def unix_listener(path: str) -> socket.socket:
    """A listening socket at `path`, for root only, in a directory that only root can write. Replaces the stale socket of a killed
    agent, and nothing else. Raises UsageError, NotTrusted."""
    directory, name = os.path.split(os.path.abspath(path))
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        fd = trusted.open_directory(directory)
        try:
            _make_way(fd, name, path)
            mask = os.umask(0o177)
            try:
                sock.bind(trusted.at(fd, name))
            finally:
                os.umask(mask)
        finally:
            os.close(fd)
        sock.listen(_MOST_CONNECTIONS)
    except OSError as error:
        sock.close()
        raise UsageError(f"cannot listen at {path}: {error.strerror}") from None
    except BaseException:
        sock.close()
        raise
    return sock


def _make_way(fd: int, name: str, path: str) -> None:
    """Unlink a socket without a listener."""
    try:
        about = os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(about.st_mode):
        raise UsageError(f"{path} is there already and is no socket, so it is left alone")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as old:
        if old.connect_ex(trusted.at(fd, name)) in (0, errno.EAGAIN):
            raise UsageError(f"somebody listens at {path} already")
    os.unlink(name, dir_fd=fd)


def metrics_listener(where: str) -> socket.socket:
    """A listening socket at '127.0.0.1:9477', '[::1]:9477' or 'unix:/run/pcn/metrics.sock'. Raises UsageError for any other
    host."""
    if where.startswith("unix:"):
        return unix_listener(where.removeprefix("unix:"))
    host, _, port = where.rpartition(":")
    host = host.strip("[]")
    if host not in ("127.0.0.1", "::1", "localhost") or not port.isdigit() or not 0 <= int(port) < 65536:
        raise UsageError(f"--metrics takes a loopback address like 127.0.0.1:9477, or unix:/a/path; not {where!r}")
    family = socket.AF_INET6 if host == "::1" else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, int(port)))
    except OSError as error:
        raise UsageError(f"cannot serve metrics at {where}: {error.strerror}") from None
    sock.listen(8)
    return sock


def http(request: bytes, page: Callable[[], bytes], kind: str) -> bytes:
    """The reply to an HTTP request: a single page."""
    method, _, rest = request.partition(b" ")
    path = rest.partition(b" ")[0].partition(b"?")[0]
    if method != b"GET":
        return _response("405 Method Not Allowed", b"only GET\n", "text/plain")
    if path not in (b"/metrics", b"/"):
        return _response("404 Not Found", b"see /metrics\n", "text/plain")
    return _response("200 OK", page(), kind)


def _response(status: str, body: bytes, kind: str) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body
