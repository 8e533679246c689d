"""From the ring to the cubes: each packet that a program handed up is given to its cube's Python half.

The ring is the only queue, so nothing here can grow without bound: while Python is too slow it fills up, and the kernel
counts what found no room (`pcn_drops`, NO_SLOWPATH). A half that raises is logged with its cube and counted, and the next packet
is none the worse for it.
"""
from __future__ import annotations

import logging
import select
import struct
import time
from dataclasses import dataclass
from typing import Any

from reconciler import pins
from reconciler.agent.cubes import Seen, look
from reconciler.agent.handle import CubeHandle, Facts, Metadata
from reconciler.agent.packet import tagged, whole
from reconciler.agent.ring import Ring
from reconciler.service import Services, cube_number

HEAD = struct.Struct("<Q10I")  # struct pcn_packet_in of pcn.h
FROM_EGRESS, FROM_XDP, TAGGED = 1, 2, 4
BATCH = 256  # packets at a time: the loop has other things to see to
MAX_AGE = 5.0  # seconds; what waited longer for an agent is of no use to anybody
TICK = 0.1  # seconds
_QUIET = 1.0  # seconds between two reports of the same cube's mistakes
log = logging.getLogger("pcn.slowpath")


@dataclass(slots=True)
class Counters:
    """Of one cube. Each packet that was `received` was `handled`, `raised`, or was `stale` (too old); ticks may raise too."""

    received: int = 0
    handled: int = 0
    raised: int = 0
    stale: int = 0


class _Cube:
    """A cube, its half, and how it fares. `half` None: it could not be made."""

    def __init__(self, root: str, facts: Facts, half: type[Any]) -> None:
        self.handle, self.counters = CubeHandle(root, facts), Counters()
        self.half: Any = None
        self._reported, self._unsaid = -_QUIET, 0
        try:
            self.half = half(self.handle)
        except Exception as error:  # noqa: BLE001 - one cube's mistake is its own
            self.mistake("start", error)

    def adopt(self, facts: Facts) -> None:
        said = (self.handle.facts.config, self.handle.facts.ports)
        self.handle.adopt(facts)
        if said != (facts.config, facts.ports):
            self.call("changed")

    def call(self, name: str, *arguments: object) -> None:
        """One of the half's optional methods."""
        method = getattr(self.half, name, None)
        if method is not None:
            try:
                method(*arguments)
            except Exception as error:  # noqa: BLE001 - as above
                self.counters.raised += 1
                self.mistake(name, error)

    def mistake(self, what: str, error: Exception) -> None:
        """Report an exception, unless the last report was just now."""
        now = time.monotonic()
        if now - self._reported < _QUIET:
            self._unsaid += 1
            return
        more = f" ({self._unsaid} more since the last report)" if self._unsaid else ""
        self._reported, self._unsaid = now, 0
        log.error("cube %s: its slow path failed in %s%s", self.handle.name, what, more, exc_info=error)


class SlowPaths:
    """All slow paths of one root. An event loop waits on `fileno`, calls `drain` when it can be read, and `tick` every
    TICK seconds; `refresh` whenever the graph may have changed (it is cheap when it has not)."""

    def __init__(self, root: str, services: Services) -> None:
        self._root, self._services = root, services
        self._cubes: dict[int, _Cube] = {}
        self._epoll = select.epoll()
        self._ring: Ring | None = None
        self._seen: Seen | None = None
        self.unclaimed = 0

    def fileno(self) -> int:
        """Readable when packets wait; stays the same while rings come and go."""
        return self._epoll.fileno()

    def close(self) -> None:
        for cube in self._cubes.values():
            cube.handle.close()
        self._cubes.clear()
        self._drop_ring()
        self._epoll.close()

    def refresh(self) -> None:
        """Serve the cubes that are live now. A cube that stays keeps its half, which is told of changes."""
        seen = look(self._root, self._services, self._seen)
        if seen is self._seen and (self._ring is not None) == seen.ring:
            return
        self._seen = seen
        self._follow_ring(seen)
        found = {cube_number(facts.name): facts for facts in seen.cubes}
        for number in [n for n, cube in self._cubes.items() if n not in found or _another(cube.handle.facts, found[n])]:
            self._cubes.pop(number).handle.close()
        for number, facts in found.items():
            if number in self._cubes:
                self._cubes[number].adopt(facts)
            elif (service := self._services.get(facts.service)) is not None and service.slow_path is not None:
                self._cubes[number] = _Cube(self._root, facts, service.slow_path)

    def _follow_ring(self, seen: Seen) -> None:
        if self._ring is not None and (not seen.ring or self._ring.identity != seen.ring_id):
            self._drop_ring()
        if self._ring is None and seen.ring:
            self._ring = Ring(f"{self._root}/{pins.table('', 'pcn_slowpath')}")
            self._epoll.register(self._ring.fileno(), select.EPOLLIN)

    def _drop_ring(self) -> None:
        if self._ring is not None:
            self._epoll.unregister(self._ring.fileno())
            self._ring.close()
            self._ring = None

    def drain(self, most: int = BATCH) -> int:
        """Handle the packets that wait, at most so many; gives how many there were."""
        if self._ring is None:
            return 0
        records = self._ring.raw(most)
        oldest = time.monotonic_ns() - int(MAX_AGE * 1e9)
        for raw in records:
            when, number, port, reason, one, two, three, length, flags, vlan, captured = HEAD.unpack_from(raw)
            cube = self._cubes.get(number)
            if cube is None or cube.half is None:
                self.unclaimed += 1
                continue
            cube.counters.received += 1
            if when < oldest:
                cube.counters.stale += 1
                continue
            packet = raw[HEAD.size : HEAD.size + captured]
            if flags & TAGGED:
                packet, length = tagged(packet, vlan), length + 4
            if not flags & FROM_XDP:
                packet = whole(packet)
            name = cube.handle.port_names.get(port, "")
            direction = "egress" if flags & FROM_EGRESS else "ingress"
            try:
                cube.half.packet_in(packet, Metadata(name, (one, two, three), direction, length, when), reason)
            except Exception as error:  # noqa: BLE001 - one cube's mistake is its own
                cube.counters.raised += 1
                cube.mistake("packet_in", error)
            else:
                cube.counters.handled += 1
        return len(records)

    def tick(self, now: float | None = None) -> None:
        """Give every half its time. `now`: CLOCK_MONOTONIC in seconds."""
        for cube in list(self._cubes.values()):
            cube.call("tick", time.monotonic() if now is None else now)

    def counters(self) -> dict[str, Any]:
        """Totals, and by cube under 'cubes'. `lost`: what the kernel found no room for, by its own count."""
        cubes = {cube.handle.name: self._of(cube) for cube in self._cubes.values()}
        names = ("received", "handled", "raised", "stale", "injected", "refused", "lost")
        totals = {name: sum(each[name] for each in cubes.values()) for name in names}
        return {**totals, "unclaimed": self.unclaimed, "waiting": self._ring.waiting() if self._ring else 0, "cubes": cubes}

    def _of(self, cube: _Cube) -> dict[str, int]:
        from reconciler.agent.cubes import lost

        counts, handle = cube.counters, cube.handle
        return {
            "received": counts.received, "handled": counts.handled, "raised": counts.raised, "stale": counts.stale,
            "injected": handle.injected, "refused": handle.refused, "lost": lost(self._root, handle.name),
        }  # fmt: skip


def _another(old: Facts, new: Facts) -> bool:
    """Whether a cube of the same name is another one now."""
    return (old.service, old.hook) != (new.service, new.hook)
