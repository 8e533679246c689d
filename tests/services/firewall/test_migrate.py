"""What an older release's connections become: rows of (expires, state, opener) as they were then."""
from __future__ import annotations

import struct

import pytest

from cubes.firewall import codec
from cubes.firewall.migrate import MIGRATIONS
from cubes.lib import connections

KEY = connections.CONNECTION_KEY.pack(bytes(15) + b"\1", bytes(15) + b"\2", 4000, 80, 6)
STATES = ["SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "LAST_ACK", "TIME_WAIT", "NEW", "ESTABLISHED"]


@pytest.mark.parametrize(("number", "state"), list(enumerate(STATES, 1)))
@pytest.mark.parametrize("table", ["connections", "openings"])
def test_a_connection_keeps_its_state_its_opener_and_its_time(table, number, state):
    migrate = MIGRATIONS[table][40, 16]
    found = migrate(KEY, struct.pack("=QII", 90_000_000_000, number, 1))
    assert found is not None
    key, row = found
    assert (key, len(row)) == (KEY, connections.CONNECTION.size)
    (entry,) = codec.state({table: {key: row}}, 60)["session-table"]
    assert (entry["state"], entry["eta"], entry["sport"], entry["dport"]) == (state, 30, 80, 4000)


def test_a_tcp_connection_is_followed_without_its_windows_which_nobody_knew():
    migrate = MIGRATIONS["connections"][40, 16]
    found = migrate(KEY, struct.pack("=QII", 1, 3, 0))
    assert found is not None
    assert found[1][10] == 3, "answered and assured"
    assert found[1][14:16] == bytes((10, 10)), "both ends are liberal"
    assert not any(found[1][16:48])


def test_a_state_that_nobody_knows_is_not_kept():
    migrate = MIGRATIONS["connections"][40, 16]
    assert migrate(KEY, struct.pack("=QII", 1, 99, 0)) is None
