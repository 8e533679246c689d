"""Sessions of translators, as bpf/lib/session.h keeps them."""

from __future__ import annotations

TABLES = ("sessions", "session_ways", "session_slots")


def without_tail(key: bytes, row: bytes) -> tuple[bytes, bytes]:
    """Migration: a row of `sessions` used to have eight more bytes, which were unused."""
    return key, row[:40]


MIGRATIONS = {"sessions": {(40, 48): without_tail}}


def rows_for(most: int) -> dict[str, int]:
    """Rows of each table for so many sessions: a quarter more, or the search for a free slot would take long."""
    return dict.fromkeys(TABLES, most + most // 4)
