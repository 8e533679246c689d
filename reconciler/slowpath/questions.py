"""TCP probes that a half requests, on non-blocking sockets.

A half has no sockets of its own. It requests a probe (`CubeHandle.ask`) and collects results at its next tick
(`CubeHandle.answers`). The connections are created in the worker's network namespace, which is the host's.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

MOST = 256  # open at a time, of a cube
LINE = 512  # bytes; a longer first line of a response is truncated
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close sends RST, so that neither kernel keeps a TIME_WAIT
_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.EAGAIN})
_WORDS = {errno.ECONNREFUSED: "REFUSED", errno.ETIMEDOUT: "TIMEOUT", errno.ECONNRESET: "CLOSED", errno.EPIPE: "CLOSED"}


class Question(NamedTuple):
    """A probe: whether a connection is accepted within so many seconds, and the response to `send`, if that is not empty. `of`:
    the half's key of the probe."""

    of: bytes
    address: str
    port: int
    seconds: float
    send: bytes = b""


class Answer(NamedTuple):
    """`error`: '' for none, 'REFUSED', 'TIMEOUT', 'UNREACHABLE', 'CLOSED'; 'OURS': a failure of this host, from which
    nothing follows for the other. `line`: the first line of the response, or the received part of it."""

    question: Question
    error: str
    line: bytes = b""


class Asked:
    """A probe in progress. Raises OSError if this host cannot connect, from which nothing follows for the target."""

    def __init__(self, question: Question, now: float) -> None:
        self.question, self.until = question, now + question.seconds
        self.answer: Answer | None = None
        self.waits_for = select.POLLOUT
        self._read = b""
        self._socket = socket.socket(socket.AF_INET6 if ":" in question.address else socket.AF_INET, socket.SOCK_STREAM)
        try:
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._failed(self._socket.connect_ex((question.address, question.port)))
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def ready(self) -> None:
        """The socket is ready: continue until it would block."""
        try:
            self._connected() if self.waits_for == select.POLLOUT else self._receive()
        except BlockingIOError:
            pass
        except OSError as error:
            self._failed(error.errno or errno.EIO)

    def _connected(self) -> None:
        if self._failed(self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
            return
        if not self.question.send:
            self.answer = Answer(self.question, "")
        else:
            self._socket.send(self.question.send)  # fits the send buffer of a new connection
            self.waits_for = select.POLLIN

    def _receive(self) -> None:
        found = self._socket.recv(LINE)
        self._read += found
        if b"\n" in self._read or len(self._read) >= LINE:
            self.answer = Answer(self.question, "", self._read.split(b"\n", 1)[0])
        elif not found:
            self.answer = Answer(self.question, "" if self._read else "CLOSED", self._read)

    def _failed(self, number: int) -> bool:
        if number in _OURS:
            raise OSError(number, "cannot ask")
        if number and number != errno.EINPROGRESS:
            self.answer = Answer(self.question, _WORDS.get(number, "UNREACHABLE"))
        return bool(number)


class Questions:
    """A cube's probes in progress, at most MOST at a time."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._open: dict[int, Asked] = {}

    def ask(self, question: Question, now: float) -> bool:
        """Start a probe. False: too many are open. Raises OSError as `Asked`."""
        if len(self._open) >= MOST:
            return False
        asked = Asked(question, now)
        self._open[asked.fileno()] = asked
        self._poll.register(asked.fileno(), asked.waits_for)
        return True

    def answers(self, now: float) -> Iterator[Answer]:
        """Results since the last call, timeouts among them."""
        for fd, _ in self._poll.poll(0) if self._open else ():
            asked = self._open[fd]
            try:
                asked.ready()
            except OSError:
                asked.answer = Answer(asked.question, "OURS")
            self._poll.modify(fd, asked.waits_for)
        for fd, asked in list(self._open.items()):
            answer = asked.answer or (Answer(asked.question, "TIMEOUT") if now >= asked.until else None)
            if answer is not None:
                self._drop(fd)
                yield answer

    def _drop(self, fd: int) -> None:
        self._poll.unregister(fd)
        self._open.pop(fd).close()

    def close(self) -> None:
        for fd in list(self._open):
            self._drop(fd)
