"""Reads a cube's capture ring and writes pcapng."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from reconciler import pins
from reconciler.capture import pcapng
from reconciler.capture.anonymous import Anonymous
from reconciler.capture.output import Output
from reconciler.errors import LockBusy, UsageError
from reconciler.kernel import maps
from reconciler.kernel.bpffs import open_pin
from reconciler.kernel.percpu import fold_cpus
from reconciler.slowpath.ring import Ring

TABLE, COUNTS = "captured", "capture_counts"  # of bpf/lib/capture.h
_HEAD = struct.Struct("=QIIII")  # struct capture_record
_COUNTS = struct.Struct("=QQ")
_PAUSE = 0.1  # seconds after which packets are flushed to a waiting reader
_LOOK = 1.0  # seconds between checks that the ring is still the cube's
_AT_ONCE, _EVERYTHING = 4096, 1 << 62  # packets


@dataclass(frozen=True, slots=True)
class Capture:
    """Metadata of a capture. `places` by index, also of a standard cube's ports."""

    cube: str
    places: Mapping[int, str]
    snaplen: int = 262144
    filter: str = ""
    comment: str = ""
    anonymous: bool = False

    def head(self, version: str) -> bytes:
        """The section header and interface blocks of each file; an interface is a place."""
        found = pcapng.section(f"pcn {version}", self.comment)
        for place in self.places.values():
            found += pcapng.interface(place, f"pcn cube {self.cube}", f"seen at {place}", self.snaplen, self.filter)
        return found


@dataclass(slots=True)
class Written:
    """Numbers of packets: `captured` are in the file, `lost` did not fit into the ring."""

    captured: int = 0
    lost: int = 0


def follow(root: str, capture: Capture, output: Output, ending: Callable[[], bool], most: int = 0) -> Written:
    """Write packets until `most` are written (0: unlimited), the cube is deleted, or `ending` and the ring is empty. Only packets
    lost meanwhile are counted. Raises LockBusy if there is another reader, UsageError if there is no such cube, and the errors of
    the output."""
    path = f"{root}/{pins.table(capture.cube, TABLE)}"
    with ExitStack() as stack:
        stack.callback(os.close, _alone(os.path.dirname(path), capture.cube))
        counts = open_pin(f"{root}/{pins.table(capture.cube, COUNTS)}")
        stack.callback(os.close, counts)
        ring, before = stack.enter_context(Ring(open_pin(path))), _lost(counts)
        written = _written(ring, capture, output, ending, most, path)
        written.lost = _lost(counts) - before
    output.write(pcapng.statistics(0, time.time_ns(), written.captured, written.lost))
    return written


def _written(ring: Ring, capture: Capture, output: Output, ending: Callable[[], bool], most: int, path: str) -> Written:
    written, order = Written(), {index: number for number, index in enumerate(capture.places)}
    anonymous = Anonymous() if capture.anonymous else None
    looked = time.monotonic()
    while True:
        is_last, room = ending(), most - written.captured if most else _EVERYTHING
        count = 0
        for raw in ring.records(room if is_last else min(room, _AT_ONCE)):
            output.write(_block(raw, order, anonymous))
            count += 1
        written.captured += count
        if is_last or count == room:
            return written
        if not count:
            output.flush()
            select.select([ring], [], [], _PAUSE)
        now = time.monotonic()
        if now - looked > _LOOK:
            looked = now
            if _identity(path) != ring.identity:
                return written


def _block(raw: bytes, order: Mapping[int, int], anonymous: Anonymous | None) -> bytes:
    when, port, length, captured, vlan = _HEAD.unpack_from(raw)
    frame = raw[_HEAD.size : _HEAD.size + captured]
    if vlan:  # a VLAN tag from the packet's metadata
        frame = frame[:12] + vlan.to_bytes(4, "big") + frame[12:]
    if anonymous is not None:
        frame = anonymous.frame(frame)
    return pcapng.packet(order.get(port >> 1, 0), when, frame, length, inwards=not port & 1)


def _alone(directory: str, cube: str) -> int:
    try:
        lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise UsageError(f"there is no cube {cube!r}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise LockBusy(f"the packets of {cube} are being read by another process, and each can be read once") from None
    return lock


def _lost(counts: int) -> int:
    spec = maps.info(counts).spec
    row = maps.lookup(counts, spec, bytes(4))
    return 0 if row is None else int(_COUNTS.unpack(fold_cpus(spec, row))[1])


def _identity(path: str) -> int:
    try:
        fd = open_pin(path)
    except OSError:
        return 0
    try:
        return maps.info(fd).identity
    finally:
        os.close(fd)
