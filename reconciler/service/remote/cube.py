"""The cube handle of a slow path that runs elsewhere: its operations are collected, and performed at the cube."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from reconciler.rpc.contract import from_bytes

Say = Callable[[str, dict[str, Any]], None]
"""Takes ('out' | 'rows' | 'log' | 'notification' | 'fact', entry), as docs/rpc.md has them."""


class RemoteTable:
    """What this half has written, since it cannot see the table itself."""

    def __init__(self, cube: str, name: str, say: Say) -> None:
        self._cube, self._name, self._say = cube, name, say
        self._rows: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        return self._rows.get(key)

    def set(self, key: bytes, value: bytes) -> None:
        self._rows[key] = value
        self._say("rows", {"cube": self._cube, "table": self._name, "key": from_bytes(key), "value": from_bytes(value)})

    def delete(self, key: bytes) -> bool:
        self._say("rows", {"cube": self._cube, "table": self._name, "key": from_bytes(key), "value": None})
        return self._rows.pop(key, None) is not None

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        return iter(list(self._rows.items()))


class RemoteCube:
    """A `CubeHandle` of the SDK."""

    INGRESS: ClassVar[str] = "INGRESS"
    EGRESS: ClassVar[str] = "EGRESS"

    def __init__(self, served: Mapping[str, Any], say: Say) -> None:
        self._say = say
        self._tables: dict[str, RemoteTable] = {}
        self.adopt(served)

    def adopt(self, served: Mapping[str, Any]) -> None:
        self.name: str = served["name"]
        self.config: Mapping[str, Any] = served["config"]
        self.ports: Mapping[str, int] = served["ports"]
        self.facts: Mapping[str, Any] = served["facts"]
        self.port_names = {index: name for name, index in self.ports.items()}

    def table(self, name: str) -> RemoteTable:
        return self._tables.setdefault(name, RemoteTable(self.name, name, self._say))

    def log(self, level: str, text: str) -> None:
        self._say("log", {"cube": self.name, "name": level, "value": text})

    def notify(self, name: str, value: Any) -> None:
        self._say("notification", {"cube": self.name, "name": name, "value": value})

    def publish_fact(self, name: str, value: Any) -> None:
        self._say("fact", {"cube": self.name, "name": name, "value": value})

    def send_packet_out(self, packet: bytes | Sequence[bytes], port: str = "", direction: str = EGRESS) -> int:
        packets = (packet,) if isinstance(packet, bytes | bytearray) else packet
        for each in packets:
            self._say("out", {"cube": self.name, "packet": from_bytes(bytes(each)), "port": port, "direction": direction})
        return len(packets)
