"""The interface between pcn and the Python half of a cube with a slow path.

    class SlowPath:
        def __init__(self, cube: CubeHandle) -> None: ...
        worker = "cube"                                # optional; one process for each cube instead of one for the service
        def packet_in(self, packet: bytes, md: Metadata, reason: int) -> None: ...
        def tick(self, now: float) -> None: ...        # optional; every 100 ms, CLOCK_MONOTONIC seconds
        def changed(self) -> None: ...                 # optional; `cube.config`, `cube.ports` or `cube.facts` changed
        def drained(self) -> None: ...                 # optional; the ring is empty, or the cube's share of this turn handled
        prepare = classmethod                          # optional; called once, before the worker drops its privileges
        def held(self) -> int: ...                     # optional; how many packets it keeps for later

A half with `packets = False` handles none: it has no ring and cannot send. `serves(config)`, a static method, selects the
cubes that need a half; without it, all.

A half does no I/O of its own: it is called in its worker's event loop, and blocking would delay the service's other cubes.
"""
from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from reconciler import facts, pins
from reconciler.kernel import maps
from reconciler.kernel.percpu import fold_cpus, spread
from reconciler.slowpath.counters import INJECTED, REFUSED, Counts
from reconciler.slowpath.packet_out import EGRESS, INGRESS, PacketOut, Wire
from reconciler.slowpath.questions import Answer, Question, Questions

LEVELS = ("TRACE", "DEBUG", "INFO", "WARN", "ERR", "CRITICAL", "OFF")  # enum pcn_level of bpf/framework/log.h
OpenPin = Callable[[str], int]
"""Returns a new descriptor of a pin below the root. Raises OSError."""
Say = Callable[[str, str, str, Any], None]
"""Takes messages for the agent: ('log', cube, level, text), ('notification', cube, name, value), ('fact', cube, name, value)
or ('mistake', cube, method, traceback)."""
_ELSEWHERE = (b"\0\0\0\0", b"\1\0\0\0")  # kinds of a hop without a program or netdev: none, pass


class Metadata(NamedTuple):
    """Metadata of a packet. `port` is the name of the ingress port (egress: of the egress port); of a transparent cube that may
    be at several places the place's name, '' of other transparent cubes. `direction`: 'ingress' | 'egress', which of the cube's
    programs sent it. `length` in bytes, more than the packet's if it was truncated. `time`: CLOCK_MONOTONIC in ns."""

    port: str
    metadata: tuple[int, int, int]
    direction: str
    length: int
    time: int


@dataclass(frozen=True, slots=True)
class ServedCube:
    """A live cube with a slow path: its configuration as applied, and facts. `ports` are indices by name; `peers` the netdevs
    that are peers of ports, by the port's name; `near` is the hidden netdev for injection; `attached` the netdev of a transparent
    cube; one that may be at several places has these as ports. `objects` are kernel ids of objects used by name: a new id is a
    new table or netdev. Plain data, transferred by RPC."""

    name: str
    service: str
    hook: str
    transparent: bool
    near: str
    config: Mapping[str, Any]
    ports: Mapping[str, int]
    peers: Mapping[str, str]
    tables: Mapping[str, str] = field(default_factory=dict)
    attached: str = ""
    loglevel: str = "INFO"
    ring: int = 0
    objects: tuple[int, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


class TableHandle:
    """One of the cube's tables, rows as bytes. Methods raise OSError if the kernel refuses."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._spec = maps.info(self._fd).spec

    def close(self) -> None:
        os.close(self._fd)

    def get(self, key: bytes) -> bytes | None:
        """A row's value, of a per-CPU table the sum; None if there is no row."""
        value = maps.lookup(self._fd, self._spec, key)
        return None if value is None else fold_cpus(self._spec, value)

    def set(self, key: bytes, value: bytes) -> None:
        maps.update(self._fd, key, spread(self._spec, value))

    def delete(self, key: bytes) -> bool:
        return maps.delete(self._fd, key)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        for key, value in maps.rows(self._fd, self._spec).items():
            yield key, fold_cpus(self._spec, value)


class CubeHandle:
    """One cube. `name`, `config` (the model's leaves with defaults, `ports` among them) and `ports` are read-only."""

    INGRESS: ClassVar[str] = INGRESS
    EGRESS: ClassVar[str] = EGRESS

    def __init__(self, open_pin: OpenPin, cube: ServedCube, counts: Counts, say: Say) -> None:
        self._open_pin, self.cube, self._counts, self._say = open_pin, cube, counts, say
        self._tables: dict[str, TableHandle] = {}
        self._injector: PacketOut | None = None
        self._wires: dict[str, Wire] = {}
        self._published: dict[str, str] = {}
        self._questions = Questions()
        self.adopt(cube)

    @property
    def name(self) -> str:
        return self.cube.name

    @property
    def config(self) -> Mapping[str, Any]:
        return self.cube.config

    @property
    def ports(self) -> Mapping[str, int]:
        return self.cube.ports

    @property
    def facts(self) -> Mapping[str, Any]:
        """The current values of the facts that the service names."""
        return self.cube.facts

    def adopt(self, cube: ServedCube) -> None:
        """Continue with the cube's current state."""
        self.cube = cube
        self.port_names = {index: name for name, index in cube.ports.items()}
        if cube.transparent:  # a place has an index for each side at which packets arrive
            self.port_names = {2 * index + side: name for name, index in cube.ports.items() for side in (0, 1)}
        self.close()

    def close(self) -> None:
        for closing in (*self._tables.values(), *self._wires.values(), self._injector):
            if closing is not None:
                closing.close()
        self._tables, self._injector, self._wires = {}, None, {}

    def end(self) -> None:
        """The cube is not served any more."""
        self.close()
        self._questions.close()

    def log(self, level: str, text: str) -> None:
        """`level` as in pcn_log: 'TRACE' to 'CRITICAL'. Messages below the cube's loglevel are discarded."""
        known = level if level in LEVELS[:-1] else "INFO"
        if LEVELS.index(known) >= LEVELS.index(self.cube.loglevel):
            self._say("log", self.name, known, text)

    def notify(self, name: str, value: Any) -> None:
        """Publish a value (plain data) under a name; the last one is in the agent's status."""
        self._say("notification", self.name, name, value)

    def publish_fact(self, name: str, value: Any) -> None:
        """Publish a fact that the service names in its FACTS: `tables` finds it as `env.facts[name]`, and the agent plans with
        it. The last one is valid until the cube is deleted, with or without worker and agent. Raises ValueError unless
        it is plain data of at most 3500 bytes of JSON."""
        text = facts.publishable(name, value)
        if self._published.get(name) != text:
            self._published[name] = text
            self._say("fact", self.name, name, json.loads(text))

    def ask(self, of: bytes, address: str, port: int, seconds: float, send: bytes = b"") -> bool:
        """Probe by TCP, from the host's network namespace, whether a connection is accepted within so many seconds, and the
        response to `send`; `of` is the half's key of the probe. Never blocks: `answers` has the outcome. False: 256 are
        open already. Raises OSError if this host cannot connect."""
        return self._questions.ask(Question(of, address, port, seconds, send), time.monotonic())

    def answers(self) -> Sequence[Answer]:
        """Results since the last call, timeouts among them."""
        return tuple(self._questions.answers(time.monotonic()))

    def table(self, name: str) -> TableHandle:
        """A table that the cube's C declares, by its name there. Raises KeyError if there is none."""
        if name not in self._tables:
            try:
                self._tables[name] = TableHandle(self._open_pin(self.cube.tables.get(name) or pins.table(self.name, name)))
            except OSError:
                raise KeyError(f"cube {self.name} has no table {name}") from None
        return self._tables[name]

    def send_packet_out(self, packet: bytes | Sequence[bytes], port: str = "", direction: str = EGRESS) -> int:
        """Send one packet, or several to the same port; returns the number sent, the others are counted as refused.

        A standard cube: INGRESS is as if it had arrived at that port now, EGRESS is out of that port, through its transparent
        cubes. Of a transparent cube INGRESS continues inwards after it, EGRESS outwards; `port` is the place, '' if it is at
        one only. Raises KeyError for an unknown port.
        """
        packets = (packet,) if isinstance(packet, bytes | bytearray) else packet
        index = self.cube.ports[port] if self.cube.ports else 0
        try:
            sent = self._send(packets, index, direction, self.cube.peers.get(port, self.cube.attached))
        except OSError as error:  # the graph is being changed; `adopt` follows
            self.log("WARN", f"cannot send: {error.strerror}")
            sent = 0
        self._counts[INJECTED] += sent
        self._counts[REFUSED] += len(packets) - sent
        return sent

    def _send(self, packets: Sequence[bytes], index: int, direction: str, netdev: str) -> int:
        if self.cube.transparent and netdev and direction == EGRESS and self._outermost(index):
            if netdev not in self._wires:
                self._wires[netdev] = Wire(netdev)
            return self._wires[netdev].send(packets)
        if self._injector is None:
            self._injector = PacketOut(self.cube.near, trailer=self.cube.hook != "TC")
        return self._injector.send(packets, index, direction)

    def _outermost(self, place: int) -> bool:
        """Whether no program follows outwards that could forward a packet: a socket of the netdev then sends it."""
        hops = self._tables.get("/hops")
        if hops is None:
            hops = self._tables["/hops"] = TableHandle(self._open_pin(pins.table(self.name, "pcn_hops")))
        row = hops.get((2 * place).to_bytes(4, sys.byteorder))
        return row is None or row[:4] in _ELSEWHERE
