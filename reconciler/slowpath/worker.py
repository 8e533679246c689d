"""One worker: a process that serves the cubes of one service, or one cube, until its agent ends.

Its loop waits for packets in its cubes' rings, for RPC of the agent, and for the next tick. It has its own timer, so
that a half's timing (a heartbeat, a retransmission) does not depend on a busy agent.
"""

from __future__ import annotations

import gc
import json
import math
import os
import select
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reconciler.incremental.memo import Memo
from reconciler.kernel.bpffs import Bpffs
from reconciler.rpc.contract import VERSION, RpcError, to_bytes
from reconciler.rpc.server import LATER, Connection
from reconciler.service.registry import Services
from reconciler.slowpath import privileges
from reconciler.slowpath.counters import Counters
from reconciler.slowpath.dispatch import TICK, Dispatcher
from reconciler.slowpath.handle import ServedCube
from reconciler.slowpath.packet_in import PacketIn

KEPT = 1000  # messages that wait for the agent; the oldest are dropped
KINDS = ("log", "notification", "fact", "mistake")


class Worker:
    """`order` is the supervisor's command line."""

    def __init__(self, order: Mapping[str, Any]) -> None:
        self._service, root = str(order["service"]), str(order["root"])
        self._half: type[Any] = _half(self._service, order["services"])
        self._counters = Counters(order["counters"])
        pins = Bpffs(root)
        pins.names()  # opens the root, which cannot be opened any more without privileges
        self._dispatcher = Dispatcher(pins.open_pin, self._say)
        self._said: deque[tuple[str, str, str, Any, float]] = deque(maxlen=KEPT)
        self._asking: Connection | None = None  # the long poll in progress,
        self._until = math.inf  # and its deadline (time.monotonic)
        self._current: Connection | None = None  # whose request is being handled
        functions = {
            "GET /service": self._about, "POST /cubes": self._cubes, "POST /tick": self._tick, "POST /packet_in": self._packet_in,
            "POST /out": self._out,
        }  # fmt: skip
        sockets = [socket.socket(fileno=fd) for fd in order["sockets"]]
        self._connections = [Connection(sock, functions) for sock in sockets]

    def prepare(self) -> None:
        """Let the half open what it needs, before privileges are dropped."""
        getattr(self._half, "prepare", lambda: None)()

    def run(self) -> None:
        """The event loop; returns when the agent closes a connection."""
        poll, due = select.epoll(), time.monotonic() + TICK
        poll.register(self._dispatcher, select.EPOLLIN)
        by_fd = {connection.fileno(): connection for connection in self._connections}
        for fd in by_fd:
            poll.register(fd, select.EPOLLIN)
        while True:
            next_ = min(due if self._dispatcher.ticks else math.inf, self._until if self._asking is not None else math.inf)
            for fd, _ in poll.poll(max(0.0, next_ - time.monotonic()) if next_ < math.inf else None):
                if fd not in by_fd:
                    self._dispatcher.drain()
                    continue
                self._current = connection = by_fd[fd]
                connection.writable() if connection.unsent else connection.readable()
            if any(connection.closed for connection in self._connections):
                return
            if time.monotonic() >= due:
                self._dispatcher.tick()
                due = time.monotonic() + TICK
            if self._asking is not None and (self._said or time.monotonic() >= self._until):
                self._tell()
            for fd, connection in by_fd.items():
                poll.modify(fd, select.EPOLLOUT if connection.unsent else select.EPOLLIN)

    # -- functions of the RPC ---------------------------------------------------------------------------------------

    def _about(self, _: object) -> dict[str, Any]:
        return {"contract": VERSION, "name": self._service, "functions": ["cubes", "tick", "packet_in", "out"]}

    def _cubes(self, said: Any) -> dict[str, Any]:
        """From now on serve these cubes and no others, with this configuration and these facts."""
        cubes = [(_served(entry), self._half, self._counters.slot(entry["slot"])) for entry in _list(said, "cubes")]
        if not self._dispatcher.adopt(cubes):
            raise RpcError("a ring cannot be opened: this worker's root is another one than the agent's")
        self._dispatcher.tick()  # so that halves have run once before the agent reports `ready`
        gc.freeze()  # long-lived objects are not traversed again
        return {"cubes": [cube.name for cube, _, _ in cubes]}

    def _tick(self, said: Any) -> None:
        self._dispatcher.tick(float(said["now"]) if isinstance(said, dict) and "now" in said else None)

    def _packet_in(self, said: Any) -> dict[str, Any]:
        for entry in _list(said, "packets"):
            found = {name: entry[name] for name in PacketIn._fields}
            found |= {"packet": to_bytes(entry["packet"]), "metadata": tuple(entry["metadata"])}
            self._dispatcher.packet_in(str(entry["cube"]), PacketIn(**found))
        return {"out": []}  # the worker has sent them itself

    def _out(self, said: Any) -> Any:
        """A long poll, answered as soon as there are messages, or after `wait` seconds: a silent worker counts as hung."""
        wait = said.get("wait") if isinstance(said, dict) else None
        self._asking, self._until = self._current, time.monotonic() + float(wait) if isinstance(wait, int | float) else math.inf
        return LATER

    # -- messages to the agent --------------------------------------------------------------------------------------

    def _say(self, kind: str, cube: str, name: str, value: Any) -> None:
        self._said.append((kind, cube, name, value, time.time()))

    def _tell(self) -> None:
        assert self._asking is not None
        asking, self._asking = self._asking, None
        kinds: dict[str, list[Any]] = {kind: [] for kind in KINDS}
        for kind, cube, name, value, when in self._said:
            kinds[kind].append({"cube": cube, "name": name, "value": value, "time": when})
        self._said.clear()
        asking.reply(200, {"out": [], **kinds})


def _list(said: Any, name: str) -> list[dict[str, Any]]:
    found = said.get(name) if isinstance(said, dict) else None
    if not isinstance(found, list):
        raise RpcError(f"there is no list {name!r}")
    return found


def _served(entry: Mapping[str, Any]) -> ServedCube:
    fields = {name: entry[name] for name in ServedCube.__dataclass_fields__}
    return ServedCube(**fields | {"objects": tuple(entry["objects"])})


def _half(service: str, directories: list[str]) -> type[Any]:
    found = Services(directories).get(service)
    if found is None or found.slow_path is None:
        raise SystemExit(f"service {service} has no slow path")
    implementation: type[Any] = found.slow_path
    return implementation


def _readable(directories: list[str]) -> list[str]:
    """Paths that Python, and late imports of halves, read."""
    own = str(Path(__file__).resolve().parents[2])
    return [sys.prefix, sys.base_prefix, sys.exec_prefix, own, *directories, *(path for path in sys.path if path)]


def main() -> None:
    """The last argument is the order, as JSON."""
    order = json.loads(sys.argv[-1])
    privileges.end_with(order["parent"])
    for number in (signal.SIGINT, signal.SIGHUP):  # for the agent, which then closes the connections
        signal.signal(number, signal.SIG_IGN)
    worker = Worker(order)
    worker.prepare()
    privileges.drop(_readable(order["services"]))
    os.chdir("/")
    Memo().run(worker.run)


if __name__ == "__main__":
    main()
