"""What the Python half of a cube with a slow path is given, and all that it may do to the world.

    class SlowPath:
        def __init__(self, cube: CubeHandle) -> None: ...
        def packet_in(self, packet: bytes, md: Metadata, reason: int) -> None: ...
        def tick(self, now: float) -> None: ...        # optional; every 100 ms, CLOCK_MONOTONIC seconds
        def changed(self) -> None: ...                 # optional; `cube.config` or `cube.ports` are others now

A half does no I/O of its own: it is called in the agent's one loop, and what it waits for keeps other cubes waiting.
"""
from __future__ import annotations

import fcntl
import logging
import os
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from reconciler import pins
from reconciler.agent.inject import EGRESS, INGRESS, Injector, Wire
from reconciler.kernel import bpffs, maps
from reconciler.kernel.reader import fold_cpus

_SIOCGIFHWADDR = 0x8927
_LEVELS = {"TRACE": 5, "DEBUG": 10, "INFO": 20, "WARN": 30, "ERR": 40, "CRITICAL": 50}
_ELSEWHERE = (b"\0\0\0\0", b"\1\0\0\0")  # kinds of a hop that leads into no program and no netdev: none, pass


class Metadata(NamedTuple):
    """Of a packet. `port` is the name of the port it arrived at (egress: will leave by), '' for a transparent cube.
    `direction`: 'ingress' | 'egress', which of the cube's programs sent it. `length` in bytes, and more than the packet
    that comes with it if that was cut off. `time`: CLOCK_MONOTONIC in ns."""

    port: str
    metadata: tuple[int, int, int]
    direction: str
    length: int
    time: int


@dataclass(frozen=True, slots=True)
class Facts:
    """A live cube with a slow path, as applied. `ports` are indices by name; `peers` what ports are joined to; `near` is the
    hidden netdev that leads back into it; `attached` the netdev that a transparent cube is on."""

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


class Table:
    """One of the cube's tables, rows as bytes. Raises OSError; KeyError for what is not there."""

    def __init__(self, path: str) -> None:
        self._fd = bpffs.open_pin(path)
        self._spec = maps.info(self._fd).spec

    def close(self) -> None:
        os.close(self._fd)

    def get(self, key: bytes) -> bytes | None:
        """A row's value, of a per-CPU table the sum."""
        value = maps.lookup(self._fd, self._spec, key)
        return None if value is None else fold_cpus(self._spec, value)

    def set(self, key: bytes, value: bytes) -> None:
        maps.update(self._fd, key, maps.spread(self._spec, value))

    def delete(self, key: bytes) -> bool:
        return maps.delete(self._fd, key)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        for key, value in maps.rows(self._fd, self._spec).items():
            yield key, fold_cpus(self._spec, value)


class CubeHandle:
    """One cube. `name`, `config` (the model's leaves with defaults, `ports` among them) and `ports` are to be read."""

    INGRESS: ClassVar[str] = INGRESS
    EGRESS: ClassVar[str] = EGRESS

    def __init__(self, root: str, facts: Facts) -> None:
        self._root, self.facts = root, facts
        self._log = logging.getLogger(f"pcn.cube.{facts.name}")
        self._tables: dict[str, Table] = {}
        self._injector: Injector | None = None
        self._wire: Wire | None = None
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self.injected = self.refused = 0
        self.adopt(facts)

    @property
    def name(self) -> str:
        return self.facts.name

    @property
    def config(self) -> Mapping[str, Any]:
        return self.facts.config

    @property
    def ports(self) -> Mapping[str, int]:
        return self.facts.ports

    def adopt(self, facts: Facts) -> None:
        """Go on with what is live now."""
        self.facts = facts
        self.port_names = {index: name for name, index in facts.ports.items()}
        self._let_go()

    def _let_go(self) -> None:
        for closing in (*self._tables.values(), self._injector, self._wire):
            if closing is not None:
                closing.close()
        self._tables, self._injector, self._wire = {}, None, None

    def close(self) -> None:
        self._let_go()
        self._socket.close()

    def log(self, level: str, text: str) -> None:
        """`level` as in pcn_log: 'TRACE' to 'CRITICAL'."""
        self._log.log(_LEVELS.get(level, logging.INFO), "%s: %s", self.name, text)

    def netdev_mac(self, port: str) -> bytes | None:
        """The MAC of the netdev that a port is joined to, now; None if it is joined to none that exists."""
        with suppress(OSError):
            asked = fcntl.ioctl(self._socket, _SIOCGIFHWADDR, struct.pack("16s24x", self.facts.peers[port].encode()))
            return bytes(asked[18:24])
        return None

    def table(self, name: str) -> Table:
        """A table that the cube's C declares, by its name there. Raises KeyError if there is none."""
        if name not in self._tables:
            try:
                self._tables[name] = Table(f"{self._root}/{self.facts.tables.get(name) or pins.table(self.name, name)}")
            except OSError:
                raise KeyError(f"cube {self.name} has no table {name}") from None
        return self._tables[name]

    def send_packet_out(self, packet: bytes | Sequence[bytes], port: str = "", direction: str = EGRESS) -> int:
        """Send one packet, or several that go the same way; gives how many went, the others are counted as refused.

        A standard cube: INGRESS is as if it had arrived at that port now, EGRESS is out of that port, through what sits
        on it. A transparent cube has no ports: INGRESS goes on inwards after it, EGRESS outwards. Raises KeyError for an
        unknown port.
        """
        packets = (packet,) if isinstance(packet, bytes | bytearray) else packet
        index = 0 if self.facts.transparent else self.facts.ports[port]
        try:
            sent = self._send(packets, index, direction)
        except OSError as error:  # the graph is being changed; `adopt` follows
            self.log("WARN", f"cannot send: {error.strerror}")
            sent = 0
        self.injected += sent
        self.refused += len(packets) - sent
        return sent

    def _send(self, packets: Sequence[bytes], index: int, direction: str) -> int:
        if self.facts.attached and direction == EGRESS and self._outermost():
            self._wire = self._wire or Wire(self.facts.attached)
            return self._wire.send(packets)
        if self._injector is None:
            self._injector = Injector(self.facts.near, trailer=self.facts.hook != "TC")
        return self._injector.send(packets, index, direction)

    def _outermost(self) -> bool:
        """Whether nothing but the netdev follows outwards: its hook then ends here, and no program could send it on."""
        hops = self._tables.get("/hops")
        if hops is None:
            hops = self._tables["/hops"] = Table(f"{self._root}/{pins.table(self.name, 'pcn_hops')}")
        row = hops.get(bytes(4))
        return row is None or row[:4] in _ELSEWHERE
