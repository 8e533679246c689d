"""Migration of connections of older releases: they continue, as if they had been picked up."""

from __future__ import annotations

import struct

from cubes.lib.connections import CONNECTION, SPARE_NAMED

_OLD = struct.Struct("=QII")  # expires, state, opener
_STATES = (0, 1, 2, 3, 4, 6, 7, 10, 11)  # enum connection_state, by the older one
_ESTABLISHED, _OPENING, _ANSWERED = 3, 10, 11
_REPLY, _ASSURED = 1, 2
_LIBERAL = 2 | 8  # END_SACKS, END_LIBERAL: nothing is known of its windows
_FLAGS_AT = 14


def settled(key: bytes, row: bytes) -> tuple[bytes, bytes] | None:
    return _migrated(key, row, assured=True)


def unsettled(key: bytes, row: bytes) -> tuple[bytes, bytes] | None:
    return _migrated(key, row, assured=False)


def _migrated(key: bytes, row: bytes, *, assured: bool) -> tuple[bytes, bytes] | None:
    expires, number, opener = _OLD.unpack(row)
    if number >= len(_STATES):
        return None
    state = _STATES[number]
    replied = state not in (1, _OPENING)
    seen = (_REPLY if replied else 0) | (_ASSURED if assured else 0)
    new = bytearray(CONNECTION.pack(expires, state, opener, seen, 0))
    if state < _OPENING:
        new[_FLAGS_AT : _FLAGS_AT + 2] = bytes((_LIBERAL, _LIBERAL))
    return key, bytes(new)


MIGRATIONS = {
    "connections": {(40, 16): settled, **SPARE_NAMED},
    "openings": {(40, 16): unsettled, **SPARE_NAMED},
    "streams": SPARE_NAMED,
}
