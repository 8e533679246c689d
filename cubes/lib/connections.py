"""Tables of connections (bpf/lib/conntrack.h) as lists: endpoints, state and remaining lifetime."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator, Mapping
from typing import Any

CONNECTION_KEY = struct.Struct("=16s16sHHB3x")
CONNECTION = struct.Struct("=QBBBx44xI4x")  # expires, state, opener, seen; when it began
TABLES = ("connections", "streams", "openings")
STATES = (
    "NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE", "SYN_SENT2", "NEW",
    "ESTABLISHED",
)  # fmt: skip


def unchanged(key: bytes, row: bytes) -> tuple[bytes, bytes]:
    """The migration of a row whose spare bytes have a name now: they were zeros, which say that nothing is known."""
    return key, row


SPARE_NAMED = {(CONNECTION_KEY.size, CONNECTION.size): unchanged}


def sessions(rows: Mapping[str, Mapping[bytes, bytes]], now: int, protocols: Mapping[str, int]) -> list[dict[str, Any]]:
    """The connections that are not over; `now` in seconds. Protocols that have no name are numbers."""
    return [entry for table in TABLES for entry in _of_table(rows.get(table, {}), now, protocols)]


def _of_table(rows: Mapping[bytes, bytes], now: int, protocols: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    for key, row in rows.items():
        low, high, low_port, high_port, proto = CONNECTION_KEY.unpack(key)
        expires, number, opener, *_ = CONNECTION.unpack(row)
        if expires // 1_000_000_000 <= now:
            continue
        ends = [(_address(low), low_port), (_address(high), high_port)]
        (src, sport), (dst, dport) = ends[::-1] if opener else ends
        yield {
            "src": src, "dst": dst, "l4proto": next((name for name, code in protocols.items() if code == proto), str(proto)),
            "sport": sport, "dport": dport, "state": STATES[number] if number < len(STATES) else f"#{number}",
            "eta": expires // 1_000_000_000 - now,
        }  # fmt: skip


def _address(raw: bytes) -> str:
    wide = ipaddress.IPv6Address(raw)
    return str(wide.ipv4_mapped or wide)
