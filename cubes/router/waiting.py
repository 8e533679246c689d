"""Queues of packets whose next hop's MAC address is being resolved, bounded per queue, by next hops and in total. Pure.

Where a bound is reached, room is made at the cost of the largest user, by ingress port and source address; so a source that
causes many requests loses its own packets, and not those of others.
"""

from __future__ import annotations

import ipaddress
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

QUEUED = 64  # packets that wait for one next hop
HOPS = 1024  # next hops that are asked for
PACKETS = 4096  # that wait in all

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Hop = tuple[Address, str]  # a next hop and the port that it is behind
Source = tuple[str, Address | None]


@dataclass(frozen=True, slots=True)
class Packet:
    frame: bytes
    port: str  # of arrival
    sender: Address | None

    @property
    def source(self) -> Source:
        return self.port, self.sender


@dataclass(slots=True)
class Queue:
    """The packets for one next hop; `opener` is the source whose packet caused the request."""

    opener: Source
    packets: deque[Packet] = field(default_factory=deque)
    asked: float = 0.0
    tries: int = 0

    def drop_oldest_of(self, source: Source) -> bool:
        for place, packet in enumerate(self.packets):
            if packet.source == source:
                del self.packets[place]
                return True
        return False


class WaitingRoom:
    """All that waits in one router."""

    def __init__(self) -> None:
        self._queues: dict[Hop, Queue] = {}
        self._opened: Counter[Source] = Counter()  # next hops that are asked for, by opener
        self._held: Counter[Source] = Counter()  # packets that wait
        self._count = 0  # of all of them

    def __len__(self) -> int:
        return len(self._queues)

    def __iter__(self) -> Iterator[tuple[Hop, Queue]]:
        return iter(list(self._queues.items()))

    @property
    def packets(self) -> int:
        """How many wait."""
        return self._count

    def get(self, hop: Hop) -> Queue | None:
        return self._queues.get(hop)

    def add(self, hop: Hop, packet: Packet) -> Queue | None:
        """The queue that the packet waits in; None if there is no room for more of its source."""
        if not self._has_room(packet.source) or (hop not in self._queues and not self._may_open(packet.source)):
            return None
        queue = self._queues.get(hop)
        if queue is None:
            queue = self._queues[hop] = Queue(packet.source)
            self._opened[packet.source] += 1
        if len(queue.packets) >= QUEUED:
            victim = Counter(waiting.source for waiting in queue.packets).most_common(1)[0][0]
            self._drop_oldest_of(victim, [queue])
        queue.packets.append(packet)
        self._held[packet.source] += 1
        self._count += 1
        return queue

    def pop(self, hop: Hop) -> list[Packet]:
        """Those that waited for a next hop, which is not requested any more."""
        queue = self._queues.pop(hop, None)
        if queue is None:
            return []
        _less(self._opened, queue.opener)
        for packet in queue.packets:
            _less(self._held, packet.source)
        self._count -= len(queue.packets)
        return list(queue.packets)

    def _may_open(self, source: Source) -> bool:
        """Whether there is room, or room can be made, for another next hop of this source: the oldest one of a larger user is
        dropped."""
        if len(self._queues) < HOPS:
            return True
        victim, most = self._opened.most_common(1)[0]
        if self._opened[source] + 1 >= most:
            return False
        self.pop(next(hop for hop, queue in self._queues.items() if queue.opener == victim))
        return True

    def _has_room(self, source: Source) -> bool:
        """The same for another packet."""
        if self._count < PACKETS:
            return True
        victim, most = self._held.most_common(1)[0]
        if self._held[source] + 1 >= most:
            return False
        self._drop_oldest_of(victim, self._queues.values())
        return True

    def _drop_oldest_of(self, source: Source, queues: Iterable[Queue]) -> None:
        """Of the first of these queues that has one."""
        if any(queue.drop_oldest_of(source) for queue in queues):
            _less(self._held, source)
            self._count -= 1


def _less(counter: Counter[Source], source: Source) -> None:
    counter[source] -= 1
    if not counter[source]:
        del counter[source]
