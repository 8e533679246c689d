"""The state of a spanning tree at a port as bytes, for the next worker (`stp_memory` of bpf/bridge/bridge.h)."""

from __future__ import annotations

import struct

from cubes.bridge.bpdu import Times, Vector
from cubes.bridge.tree import Info, Port, Role

SIZE = 160
_VERSION = 1
_FLAGS = (
    "enabled", "edge", "update", "proposed", "proposing", "agree", "agreed", "sync", "synced", "re_root", "disputed", "learn",
    "forward", "rapid", "news", "tc_active", "tc_ack", "tc_prop", "rcvd_tc", "rcvd_tcn", "rcvd_tc_ack",
)  # fmt: skip
_UNTIL = ("info_until", "fd_until", "rr_until", "rb_until", "tc_until", "migrate_at", "hello_at")
_ROW = struct.Struct("<IIBBBB4x QIQHxx 4f QIQHxx 7d")


def memory(port: Port, identity: int) -> bytes:
    """`identity`: of the port, so that no other with its number takes it for its own."""
    flags = sum(getattr(port, name) << at for at, name in enumerate(_FLAGS))
    times = port.times.age, port.times.max_age, port.times.hello, port.times.delay
    until = (getattr(port, name) for name in _UNTIL)
    row = _ROW.pack(identity, flags, _VERSION, port.role, port.chosen, port.info, *port.vector, *times, *port.designated, *until)
    return row.ljust(SIZE, b"\0")


def identity_of(row: bytes) -> int:
    return int.from_bytes(row[:4], "little")


def remembered(row: bytes) -> Port | None:
    """None for what this version did not write."""
    _, flags, version, role, chosen, info, *words = _ROW.unpack_from(row)
    if version != _VERSION:
        return None
    port = Port(role=Role(role), chosen=Role(chosen), info=Info(info), vector=Vector(*words[:4]), times=Times(*words[4:8]))
    port.designated = Vector(*words[8:12])
    for at, name in enumerate(_FLAGS):
        setattr(port, name, bool(flags >> at & 1))
    for name, when in zip(_UNTIL, words[12:], strict=True):
        setattr(port, name, when)
    return port
