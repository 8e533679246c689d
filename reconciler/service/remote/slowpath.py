"""The slow path of a remote service: a worker's half that forwards packets to it, and performs what it answers.

While the service is away its packets wait in the cubes' rings, as they do for a slow worker: this half takes at most one
batch out of them, and waits. Packets older than 5 seconds are useless, and counted as stale.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any
from weakref import WeakValueDictionary

from reconciler.errors import ServiceAway, ServiceRefused
from reconciler.rpc.contract import MOST_PACKETS, RpcError, from_bytes, to_bytes
from reconciler.service.remote.contact import Contact
from reconciler.service.remote.listening import Listener
from reconciler.service.remote.manifest import Manifest

MAX_AGE, PATIENCE, PAUSE = 5.0, 1.0, 0.1  # seconds: of a packet; that the loop is held up; between two tries


def carrier(contact: Contact, manifest: Manifest) -> type[Any]:
    """The class that a worker instantiates for each of its cubes."""
    shared = _Service(contact, manifest)

    class SlowPath(Carrier):
        service = shared

    return SlowPath


class _Service:
    """Shared by all cubes of one service: the connection, and the send queue. `told`: it has the list of its cubes."""

    def __init__(self, contact: Contact, manifest: Manifest) -> None:
        self.contact, self._manifest = contact, manifest
        self._listener = Listener(contact) if "out" in manifest.functions else None
        self.halves: WeakValueDictionary[str, Carrier] = WeakValueDictionary()
        self.told, self._away, self._not_before = False, False, 0.0
        self._pending: deque[tuple[float, dict[str, Any]]] = deque()

    def waiting(self, cube: str = "") -> int:
        return sum(not cube or said["cube"] == cube for _, said in self._pending)

    def add(self, said: dict[str, Any]) -> None:
        """Raises ServiceAway if the queue is full and cannot be drained."""
        until = time.monotonic() + PATIENCE
        while len(self._pending) >= MOST_PACKETS and not self.flush():
            if time.monotonic() > until:
                self._pending.popleft()
                raise ServiceAway("a packet has waited for its service in vain")
            time.sleep(PAUSE)
        self._pending.append((time.monotonic(), said))

    def flush(self) -> bool:
        """Send what waits; whether it was taken."""
        if not self._pending:
            return True
        answer = self._call("packet_in", {"packets": [said for _, said in self._pending]})
        if answer is None:
            return False
        self._pending.clear()
        self._obey(answer)
        return True

    def tick(self, now: float) -> None:
        """Raises ServiceAway for packets that are too old by now."""
        stale = 0
        while self._pending and time.monotonic() - self._pending[0][0] > MAX_AGE:
            self._pending.popleft()
            stale += 1
        self.flush()
        if "tick" in self._manifest.functions and (answer := self._call("tick", {"now": now})) is not None:
            self._obey(answer)
        elif not self.told:
            self._call("", None)
        if self._listener is not None:
            self._hear(self._listener)
        if stale:
            raise ServiceAway(f"{stale} packets have waited for their service in vain")

    def _hear(self, listener: Listener) -> None:
        """Handle its own messages. A service that was away gets the list of its cubes again."""
        if listener.lost.is_set() and self.told:
            listener.lost.clear()
            self.told = False
        if self.told and (said := listener.take()) is not None:
            self._obey(said)

    def _call(self, function: str, said: Any) -> Any:
        """The answer; None: it is away. A function that fails costs its packets, and no more."""
        if time.monotonic() < self._not_before:
            return None
        try:
            if not self.told:
                self.contact.ask("cubes", {"cubes": [asdict(half.cube.cube) for half in self.halves.values()]})
                self.told = True
            answer = self.contact.ask(function, said) if function else {}
        except (ServiceAway, ServiceRefused) as error:
            self._not_before = time.monotonic() + PAUSE
            self.told = False
            if not self._away:
                self._say("ERR", str(error))
            self._away = isinstance(error, ServiceAway)
            return {} if isinstance(error, ServiceRefused) and function == "packet_in" else None
        if self._away:
            self._away = False
            self._say("INFO", f"service {self._manifest.name} is back")
        return answer

    def _say(self, level: str, text: str) -> None:
        for half in list(self.halves.values())[:1]:
            half.cube.log(level, text)

    def _obey(self, answer: Any) -> None:
        """Perform its operations, on its own cubes only."""
        for entry in _entries(answer, "rows"):
            table, key, value = self._half(entry).cube.table(str(entry["table"])), to_bytes(entry["key"]), entry["value"]
            table.delete(key) if value is None else table.set(key, to_bytes(value))
        for entry in _entries(answer, "out"):
            cube = self._half(entry).cube
            cube.send_packet_out(to_bytes(entry["packet"]), entry.get("port", ""), entry.get("direction", cube.EGRESS))
        for entry in _entries(answer, "log"):
            self._half(entry).cube.log(str(entry["name"]), str(entry["value"]))
        for entry in _entries(answer, "notification"):
            self._half(entry).cube.notify(str(entry["name"]), entry["value"])
        for entry in _entries(answer, "fact"):
            if entry["name"] in self._manifest.facts:
                self._half(entry).cube.publish_fact(entry["name"], entry["value"])

    def _half(self, entry: Mapping[str, Any]) -> Carrier:
        half = self.halves.get(str(entry["cube"]))
        if half is None:
            raise RpcError(f"service {self._manifest.name} speaks of cube {entry['cube']}, which it does not serve")
        return half


def _entries(answer: Any, kind: str) -> Iterator[Mapping[str, Any]]:
    found = answer.get(kind, ()) if isinstance(answer, Mapping) else ()
    return iter(found if isinstance(found, list) else ())


class Carrier:
    """One cube's half (reconciler/slowpath/handle.py)."""

    service: _Service

    @classmethod
    def prepare(cls) -> None:
        """In the worker, while it may still open files."""
        cls.service.contact.prepare()

    def __init__(self, cube: Any) -> None:
        self.cube = cube
        self.service.halves[cube.name] = self
        self.service.told = False

    def packet_in(self, packet: bytes, md: Any, reason: int) -> None:
        about = {"port": md.port, "direction": md.direction, "reason": reason, "length": md.length, "time": md.time}
        self.service.add({"cube": self.cube.name, "packet": from_bytes(packet), "metadata": list(md.metadata), **about})

    def drained(self) -> None:
        self.service.flush()

    def tick(self, now: float) -> None:
        first = next(iter(self.service.halves.values()), None)
        if first is self:
            self.service.tick(now)

    def changed(self) -> None:
        self.service.told = False

    def held(self) -> int:
        return self.service.waiting(self.cube.name)
