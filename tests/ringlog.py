"""What the datapath logs, read as it happens: the consumer's side of the ring that `pcn_log` writes to (bpf/pcn.h).

    with RingLog(f"{root}/shared/log") as log:
        ...packets...
        for record in log.read():
            print(render(record, formats))

A BPF ring buffer is memory shared with the kernel: a page that the consumer writes its position to, a page where the kernel
keeps its own, and the data, mapped twice in a row so that a record that wraps around is still in one piece. Nothing is
copied by a system call, and only waiting makes one. There is one position for all who read: a ring has one reader.

Nothing here needs more than ctypes and mmap, and `decode` and `render` are pure.
"""
from __future__ import annotations

import ctypes
import ipaddress
import mmap
import os
import re
import select
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from reconciler.kernel import bpf, maps

LEVELS = ("TRACE", "DEBUG", "INFO", "WARN", "ERR", "CRITICAL", "OFF")  # enum pcn_level
_RECORD = struct.Struct("<QIIII4Q")  # struct pcn_log_record: time, cube, format, level, port, args
_BUSY, _DISCARDED = 1 << 31, 1 << 30  # bits of a record's length (BPF_RINGBUF_BUSY_BIT, _DISCARD_BIT)
_HEADER = 8  # bytes ahead of each record
_CONVERSION = re.compile(r"%(?:%|[-+ #0]*\d*(?:\.\d+)?(?:hh?|ll?|z|j)?([A-Za-z]))")


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One call of `pcn_log`. `time` is CLOCK_MONOTONIC in ns; `cube` and `format` are the crc32 of a name and of a text."""

    time: int
    cube: int
    format: int
    level: int
    port: int
    args: tuple[int, ...]


def decode(raw: bytes) -> LogRecord:
    """A record's bytes as the program wrote them. Raises struct.error if there are too few."""
    when, cube, text, level, port, *args = _RECORD.unpack_from(raw)
    return LogRecord(when, cube, text, level, port, tuple(args))


def render(record: LogRecord, formats: Mapping[int, str], port: Callable[[int], str] = str) -> str:
    """The record's text: `formats` by number (an Object's `log_formats`), `port` gives a port's name for its index."""
    text = formats.get(record.format)
    if text is None:
        return f"(unknown format {record.format:#010x})"
    args = iter(record.args)

    def one(match: re.Match[str]) -> str:
        return "%" if match[1] is None else _argument(match[0], match[1], next(args, 0), port)

    return _CONVERSION.sub(one, text)


def _argument(conversion: str, kind: str, value: int, port: Callable[[int], str]) -> str:
    if kind == "I":  # as it stands in the packet
        return str(ipaddress.IPv4Address((value & 0xFFFFFFFF).to_bytes(4, "little")))
    if kind == "M":
        return ":".join(f"{byte:02x}" for byte in value.to_bytes(8, "little")[:6])
    if kind == "P":
        return port(value & 0xFFFFFFFF)
    wide = re.search(r"ll?|z|j", conversion) is not None
    plain = re.sub(r"hh?|ll?|z|j", "", conversion)
    bits = 64 if wide else 32
    value &= (1 << bits) - 1
    if kind in "di" and value >> (bits - 1):
        value -= 1 << bits
    return plain % chr(value & 0xFF) if kind == "c" else plain % value if kind in "diuxXo" else f"{value}"


class RingLog:
    """The reader of one pinned ring. Raises OSError where there is no such pin, ValueError if it is no ring."""

    def __init__(self, path: str) -> None:
        self._fd = bpf.open_pin(path)
        spec = maps.info(self._fd).spec
        if spec.type != maps.RINGBUF:
            os.close(self._fd)
            raise ValueError(f"{path} is no ring buffer")
        self._size, page = spec.max_entries, mmap.PAGESIZE
        self._mine = mmap.mmap(self._fd, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._theirs = mmap.mmap(self._fd, page + 2 * self._size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        self._data = page  # where the records start in `_theirs`
        self._position = ctypes.c_ulong.from_buffer(self._mine)  # an aligned word: written in one go

    def __enter__(self) -> RingLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        del self._position  # else the mapping is still in use
        self._mine.close()
        self._theirs.close()
        os.close(self._fd)

    def fileno(self) -> int:
        """Readable, to select and poll, when records have come since the reader caught up."""
        return self._fd

    def read(self) -> list[LogRecord]:
        """What is there now, oldest first; not waited for."""
        return [decode(raw) for raw in self._records()]

    def wait(self, seconds: float, enough: Callable[[list[LogRecord]], bool] = bool) -> list[LogRecord]:
        """What comes until `enough` says so of all that came, or the time is over."""
        found, deadline = self.read(), time.monotonic() + seconds
        while not enough(found) and (left := deadline - time.monotonic()) > 0:
            select.select([self._fd], [], [], left)
            found += self.read()
        return found

    def _records(self) -> Iterator[bytes]:
        """Each record, its room given back to the kernel once the next one is asked for."""
        while self._position.value < struct.unpack_from("<Q", self._theirs)[0]:
            at = self._data + self._position.value % self._size
            length, = struct.unpack_from("<I", self._theirs, at)
            if length & _BUSY:  # reserved, and still being written
                return
            size = length & ~_DISCARDED
            if not length & _DISCARDED:
                yield self._theirs[at + _HEADER : at + _HEADER + size]
            self._position.value += (size + _HEADER + 7) // 8 * 8
