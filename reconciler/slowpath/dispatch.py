"""From the rings to the cubes: dispatches each slow-path packet to its cube's Python half.

Each cube has its own ring, and they are served round robin, a few packets a turn: a flood at one cube fills that cube's ring, and
delays another's packet by one share. A ring is the only queue, so memory is bounded: while Python is too slow it fills up, and
the kernel counts the overflow (`pcn_drops`, NO_SLOWPATH). An exception of a half is logged with its cube and counted, and does
not affect the next packet.
"""
from __future__ import annotations

import select
import time
from collections.abc import Iterable
from typing import Any

from reconciler import pins
from reconciler.slowpath.counters import HANDLED, HELD, RAISED, RECEIVED, STALE, Counts
from reconciler.slowpath.handle import CubeHandle, Metadata, OpenPin, Say, ServedCube
from reconciler.slowpath.packet_in import PacketIn, decode
from reconciler.slowpath.ring import Ring

SHARE, ALONE, TURN = 32, 256, 0.002  # packets of one cube a turn, the same if no other has any, and the turn's limit in seconds
MAX_AGE = 5.0  # seconds; a packet that waited longer for a worker is stale
TICK = 0.1  # seconds
_QUIET = 1.0  # seconds between two reports of the same cube's exceptions


class _Cube:
    """A cube, its half, its ring and its counters. `implementation` None: the half could not be created."""

    def __init__(self, open_pin: OpenPin, cube: ServedCube, implementation: type[Any], counts: Counts, say: Say) -> None:
        self.handle, self.counts = CubeHandle(open_pin, cube, counts, say), counts
        self._say = say
        self.ring: Ring | None = None
        self.implementation: Any = None
        self._reported, self._unsaid = -_QUIET, 0
        try:
            self.implementation = implementation(self.handle)
        except Exception as error:  # noqa: BLE001 - one cube's exception must not affect others
            self.mistake("start", error)
        self._held = getattr(self.implementation, "held", None)

    def adopt(self, cube: ServedCube) -> None:
        before = self.handle.cube
        self.handle.adopt(cube)
        if (before.config, before.ports, before.facts) != (cube.config, cube.ports, cube.facts):
            self.call("changed")

    def packet_in(self, found: PacketIn, oldest: int) -> None:
        """`oldest`: the time before which a packet is stale."""
        counts = self.counts
        packet, port, direction, reason, metadata, length, when = found
        counts[RECEIVED] += 1
        if when < oldest or self.implementation is None:
            counts[STALE] += 1
            return
        counts[HELD] += 1
        try:
            md = Metadata(self.handle.port_names.get(port, ""), metadata, direction, length, when)
            self.implementation.packet_in(packet, md, reason)
        except Exception as error:  # noqa: BLE001 - as above
            counts[RAISED] += 1
            self.mistake("packet_in", error)
        else:
            counts[HANDLED] += 1
        self._count_held()

    def call(self, name: str, *arguments: object) -> None:
        """Call one of the half's optional methods, if it has it."""
        method = getattr(self.implementation, name, None)
        if method is not None:
            try:
                method(*arguments)
            except Exception as error:  # noqa: BLE001 - as above
                self.counts[RAISED] += 1
                self.mistake(name, error)
            self._count_held()

    def _count_held(self) -> None:
        try:
            self.counts[HELD] = self._held() if self._held is not None else 0
        except Exception as error:  # noqa: BLE001 - as above
            self.counts[HELD] = 0
            self.mistake("held", error)

    def mistake(self, what: str, error: Exception) -> None:
        """Report an exception; those within _QUIET seconds of a report are only counted in the next one."""
        now = time.monotonic()
        if now - self._reported < _QUIET:
            self._unsaid += 1
            return
        more = f" ({self._unsaid} more since the last report)" if self._unsaid else ""
        self._reported, self._unsaid = now, 0
        self._say("mistake", self.handle.name, f"{what}{more}", _traced(error))

    def close(self) -> None:
        if self.ring is not None:
            self.ring.close()
        self.handle.end()


class Dispatcher:
    """Serves cubes. An event loop waits on `fileno`, calls `drain` when it is readable, and `tick` every TICK seconds."""

    def __init__(self, open_pin: OpenPin, say: Say) -> None:
        self._open_pin, self._say = open_pin, say
        self._cubes: dict[str, _Cube] = {}
        self._by_ring: dict[int, _Cube] = {}
        self._epoll = select.epoll()

    def fileno(self) -> int:
        """Readable when packets wait; constant while rings are added and removed."""
        return self._epoll.fileno()

    @property
    def ticks(self) -> bool:
        """Whether any half has a `tick`."""
        return any(hasattr(cube.implementation, "tick") for cube in self._cubes.values())

    def close(self) -> None:
        for name in list(self._cubes):
            self._drop(name)
        self._epoll.close()

    def adopt(self, cubes: Iterable[tuple[ServedCube, type[Any], Counts]]) -> bool:
        """Serve these cubes and no others, each by a half of its class. A cube that stays keeps its half, which is notified of
        changes. False: a cube's ring cannot be opened."""
        wanted = {cube.name: (cube, implementation, counts) for cube, implementation, counts in cubes}
        for name in [n for n, known in self._cubes.items() if n not in wanted or _is_another(known.handle.cube, wanted[n][0])]:
            self._drop(name)
        for name, (cube, implementation, counts) in wanted.items():
            if name not in self._cubes:
                self._cubes[name] = _Cube(self._open_pin, cube, implementation, counts, self._say)
            elif self._cubes[name].handle.cube != cube:
                self._cubes[name].adopt(cube)
            self._follow_ring(self._cubes[name], cube)
        return all(known.ring is not None or not known.handle.cube.ring for known in self._cubes.values())

    def _follow_ring(self, known: _Cube, cube: ServedCube) -> None:
        if known.ring is not None and known.ring.identity != cube.ring:
            self._drop_ring(known)
        if known.ring is None and cube.ring:
            try:
                known.ring = Ring(self._open_pin(pins.table(cube.name, "pcn_slowpath")))
            except (OSError, ValueError):  # the graph is being changed; the supervisor sends the cubes again
                return
            self._by_ring[known.ring.fileno()] = known
            self._epoll.register(known.ring.fileno(), select.EPOLLIN)

    def _drop_ring(self, known: _Cube) -> None:
        if known.ring is not None:
            self._epoll.unregister(known.ring.fileno())
            del self._by_ring[known.ring.fileno()]
            known.ring.close()
            known.ring = None

    def _drop(self, name: str) -> None:
        known = self._cubes.pop(name)
        self._drop_ring(known)
        known.close()

    def drain(self) -> int:
        """Handle waiting packets, a share of each cube; returns their number."""
        count, oldest = 0, time.monotonic_ns() - int(MAX_AGE * 1e9)
        ready = self._epoll.poll(0)
        share = SHARE if len(ready) > 1 else ALONE
        for fd, _ in ready:
            cube = self._by_ring[fd]
            until = time.monotonic() + TURN
            for raw in cube.ring.records(share) if cube.ring is not None else ():
                cube.packet_in(decode(raw), oldest)
                count += 1
                if time.monotonic() > until:
                    break
            cube.call("drained")
        return count

    def packet_in(self, name: str, found: PacketIn) -> None:
        """A packet that did not arrive by its cube's ring."""
        if name in self._cubes:
            self._cubes[name].packet_in(found, time.monotonic_ns() - int(MAX_AGE * 1e9))

    def tick(self, now: float | None = None) -> None:
        """Call every half's `tick`. `now`: CLOCK_MONOTONIC in seconds."""
        for cube in list(self._cubes.values()):
            cube.call("tick", time.monotonic() if now is None else now)

    def waiting(self) -> int:
        """Bytes of the rings that are in use."""
        return sum(cube.ring.waiting() for cube in self._cubes.values() if cube.ring is not None)


def _traced(error: Exception) -> str:
    import traceback  # rarely needed, and not small

    return "".join(traceback.format_exception(error)).rstrip()


def _is_another(old: ServedCube, new: ServedCube) -> bool:
    """Whether a cube was replaced by another of the same name, which needs a new half."""
    return (old.service, old.hook) != (new.service, new.hook)
