"""The cubes' log: decodes and renders the records of `pcn_log` (bpf/framework/log.h), and merges the lines of slow paths.

`decode` and `render` are pure. A record has the number of its format; the texts are in the compiled objects of the live cubes.
"""
from __future__ import annotations

import fcntl
import heapq
import ipaddress
import os
import re
import select
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from reconciler import pins
from reconciler.agent import singleton
from reconciler.errors import LockBusy
from reconciler.kernel import bpffs, maps
from reconciler.service.registry import LEVELS, Services, cube_number
from reconciler.slowpath.ring import Ring

_RECORD = struct.Struct("<QIIII")  # struct pcn_log_record: time, cube, format, level, port, and then args, 4 or PCN_LONG_LOG
_ARGUMENTS = 4
_WORDS = {"A": 2, "S": 4}  # arguments that a conversion consumes, if not one
_PROTOCOLS = {1: "ICMP", 6: "TCP", 17: "UDP", 50: "ESP", 51: "AH", 58: "ICMPv6", 132: "SCTP", 136: "UDPLITE"}
_CONVERSION = re.compile(r"%(?:%|[-+ #0]*\d*(?:\.\d+)?(?:hh?|ll?|z|j)?([A-Za-z]))")


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One call of `pcn_log`. `time`: CLOCK_MONOTONIC in ns; `cube` and `format`: crc32 of the name and of the format text."""

    time: int
    cube: int
    format: int
    level: int
    port: int
    args: tuple[int, ...]


def decode(raw: bytes) -> LogRecord:
    """Decode a record. Raises struct.error if it is too short."""
    count = max(_ARGUMENTS, (len(raw) - _RECORD.size) // 8)
    when, cube, text, level, port = _RECORD.unpack_from(raw)
    return LogRecord(when, cube, text, level, port, struct.unpack_from(f"<{count}Q", raw, _RECORD.size))


def render(record: LogRecord, formats: Mapping[int, str], port: Callable[[int], str] = str) -> str:
    """The record as text: `formats` by number (an Object's `log_formats`); `port` maps a port index to its name."""
    text = formats.get(record.format)
    if text is None:
        return f"(unknown format {record.format:#010x})"
    args = iter(record.args)

    def one(match: re.Match[str]) -> str:
        if match[1] is None:
            return "%"
        some = [next(args, 0) for _ in range(_WORDS.get(match[1], 1))]
        return _several(match[1], some) if match[1] in "ASNT" else _argument(match[0], match[1], some[0], port)

    return _CONVERSION.sub(one, text)


def _several(kind: str, values: list[int]) -> str:
    """A conversion of a long record. IPv6 is written uncompressed, as in the kernel's own log."""
    raw = struct.pack(f"<{len(values)}Q", *values)
    if kind == "A":
        wide = ipaddress.IPv6Address(raw)
        return str(wide.ipv4_mapped or wide.exploded)
    if kind == "S":
        return raw.partition(b"\0")[0].decode("utf-8", "replace")
    if kind == "T":
        return _PROTOCOLS.get(values[0] & 0xFF, str(values[0] & 0xFF))
    try:
        return socket.if_indextoname(values[0]) if values[0] else ""
    except OSError:
        return f"#{values[0]}"


def _argument(conversion: str, kind: str, value: int, port: Callable[[int], str]) -> str:
    if kind == "I":  # in network byte order
        return str(ipaddress.IPv4Address((value & 0xFFFFFFFF).to_bytes(4, "little")))
    if kind == "M":
        return ":".join(f"{byte:02x}" for byte in value.to_bytes(8, "little")[:6])
    if kind == "P":
        return port(value & 0xFFFFFFFF)
    length = re.search(r"hh?|ll?|z|j", conversion)
    plain = re.sub(r"hh?|ll?|z|j", "", conversion)
    bits = {None: 32, "h": 16, "hh": 8}.get(length and length[0], 64)
    value &= (1 << bits) - 1
    if kind in "di" and value >> (bits - 1):
        value -= 1 << bits
    return plain % chr(value & 0xFF) if kind == "c" else plain % value if kind in "diuxXo" else f"{value}"


class RingLog(Ring):
    """The reader of a host's log ring. `alone`: exclusive (LockBusy otherwise), since each record is read once."""

    def __init__(self, path: str, *, alone: bool = False) -> None:
        self._lock = _take(os.path.dirname(path)) if alone else None
        try:
            super().__init__(bpffs.open_pin(path))
        except (OSError, ValueError):
            self._release()
            raise

    def __enter__(self) -> RingLog:
        return self

    def close(self) -> None:
        super().close()
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def read(self) -> list[LogRecord]:
        """The available records, oldest first; does not block."""
        return [decode(raw) for raw in self.records()]

    def wait(self, seconds: float, enough: Callable[[list[LogRecord]], bool] = bool) -> list[LogRecord]:
        """Records until `enough` accepts those received, or the timeout in seconds."""
        found, deadline = self.read(), time.monotonic() + seconds
        while not enough(found) and (left := deadline - time.monotonic()) > 0:
            select.select([self], [], [], left)
            found += self.read()
        return found


def _take(directory: str) -> int:
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise LockBusy("the log is being read by another process, and each line can be read once") from None
    return lock


@dataclass(slots=True)
class Names:
    """Maps the numbers in records to names of live cubes, their ports, and formats."""

    cubes: dict[int, str] = field(default_factory=dict)
    ports: dict[str, dict[int, str]] = field(default_factory=dict)
    formats: dict[int, str] = field(default_factory=dict)

    def line(self, record: LogRecord) -> dict[str, Any]:
        """A record as plain data. `time`: wall clock, ISO 8601 in UTC with microseconds."""
        cube = self.cubes.get(record.cube, f"{record.cube:#010x}")
        ports = self.ports.get(cube, {})
        wall = datetime.fromtimestamp((record.time + time.time_ns() - time.monotonic_ns()) / 1e9).astimezone()
        return {
            "time": wall.isoformat(timespec="microseconds"),
            "cube": cube,
            "level": LEVELS[record.level] if record.level < len(LEVELS) else str(record.level),
            "port": ports.get(record.port, ""),
            "text": render(record, self.formats, lambda index: ports.get(index, str(index))),
        }


def names(cubes: Mapping[str, Mapping[str, int]], objects: Iterable[Any]) -> Names:
    """`cubes`: port indices of each live cube; `objects`: compiled programs."""
    return Names(
        {cube_number(cube): cube for cube in cubes},
        {cube: {index: port for port, index in ports.items()} for cube, ports in cubes.items()},
        {number: text for compiled in objects for number, text in compiled.log_formats.items()},
    )


def live_names(root: str, services: Services) -> Names:
    """The names of what is live below a root. Raises KernelError, CompileError."""
    from reconciler.engine.builder import Builder
    from reconciler.engine.session import Reconciler

    reconciler = Reconciler(root, services, Builder(services, root=root))
    found = reconciler.live().ports  # decoding the tables builds every live cube's programs, or finds them in the cache
    return names(found, [compiled for built in reconciler.builder.built.values() for compiled in built.objects.values()])


def follow(
    root: str, services: Services, *, forever: bool, pause: float = 0.5, wanted: Callable[[], bool] = lambda: True
) -> Iterator[dict[str, Any]]:
    """Yields the lines of programs and slow paths as in `Names.line`; `forever`, or only those queued. The ring may not exist
    yet, or be recreated. Every `pause` seconds `wanted` is evaluated. Raises LockBusy if the log has another reader."""
    for said in _said_by_programs(root, services, forever, pause):
        if not wanted():
            return
        found = singleton.ask(root, pause, what="log")
        yield from heapq.merge(said, found["lines"] if found is not None else (), key=lambda line: str(line["time"]))


def _said_by_programs(root: str, services: Services, forever: bool, pause: float) -> Iterator[list[dict[str, Any]]]:
    """Yields the new lines, possibly none, every `pause` seconds or as soon as there are some."""
    path = f"{root}/{pins.table('', 'pcn_log_ring')}"
    known, asked = Names(), -1.0
    while True:
        try:
            log = RingLog(path, alone=True)
        except FileNotFoundError:
            yield []
            if not forever:
                return
            time.sleep(pause)
            continue
        with log:
            while True:
                records, lines = log.wait(pause) if forever else log.read(), []
                for record in records:
                    strange = record.cube not in known.cubes or record.format not in known.formats
                    if asked < 0 or (strange and time.monotonic() - asked > 1):
                        known, asked = live_names(root, services), time.monotonic()
                    lines.append(known.line(record))
                yield lines
                if not forever and not records:
                    return
                if not records and _identity(path) != log.identity:
                    break


def _identity(path: str) -> int:
    try:
        fd = bpffs.open_pin(path)
    except OSError:
        return 0
    try:
        return maps.info(fd).identity
    finally:
        os.close(fd)
