"""Many flows at once on all CPUs: no two have one tuple, by what comes out and by the table of sessions."""
from __future__ import annotations

import logging
import struct
import threading
from typing import Any

import pytest

from reconciler.kernel import programs
from reconciler.kernel.bpffs import Bpffs
from tests.lib.scapy_packets import IP, UDP, built
from tests.services.nat.machine import ETH, Machine
from tests.services.nat.storm import ON_TCP, ON_UDP, Storm

pytestmark = pytest.mark.kernel
log = logging.getLogger(__name__)

SENDERS, FAR = 4, "198.51.100.9"
PORT_AT, SOURCE_AT = 34, 26  # in a frame
FULL, NO_PORT = "8", "9"


def flood(nat: Machine, flows: int) -> list[bytes]:
    """Every sender begins so many flows to one far end, all with the same ports: address and port of each as it came out."""
    came: list[list[bytes]] = [[] for _ in range(SENDERS)]
    start = threading.Barrier(SENDERS)

    def send(number: int, fd: int) -> None:
        frame = bytearray(built(ETH / IP(src=f"10.0.0.{number + 1}", dst=FAR) / UDP(sport=1, dport=53, chksum=0) / b"question"))
        start.wait()
        for port in range(1024, 1024 + flows):
            struct.pack_into("!H", frame, PORT_AT, port)
            verdict, out = programs.test_run(fd, bytes(frame))[:2]
            if verdict != 2:
                came[number].append(out[SOURCE_AT : SOURCE_AT + 4] + out[PORT_AT : PORT_AT + 2])

    with Bpffs(nat.root).opened("cubes/nat1/out/1_inner") as fd:
        threads = [threading.Thread(target=send, args=(number, fd)) for number in range(SENDERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return [outside for some in came for outside in some]


def held(nat: Machine) -> list[bytes]:
    """The same of every session in the table, with none that is about the same tuple twice."""
    return [value[20:24] + value[24:26] for value in nat.table("nat1", "sessions").values()]


def check_flood(rule: dict[str, Any], flows: int, sessions: int, refused: int) -> None:
    with Machine(snat=[{"id": 1, "internal-net": "10.0.0.0/24"} | rule], sessions=sessions) as nat:
        came = flood(nat, flows)
        assert len(came) >= SENDERS * flows - refused, nat.refusals()
        assert set(nat.refusals()) <= {NO_PORT}
        assert len(set(came)) == len(came)
        assert sorted(held(nat)) == sorted(came)
        assert len(nat.table("nat1", "session_ways")) == len(nat.table("nat1", "session_slots")) == len(came)


def test_no_tuple_is_given_twice_to_flows_that_begin_at_once() -> None:
    check_flood({"external-ip": "192.0.2.1"}, 2_000, 10_000, refused=0)


@pytest.mark.exhaustive
def test_no_tuple_is_given_twice_to_two_hundred_thousand_flows() -> None:
    """Three quarters of all ports that there are for this far end are taken then; of the last ones some find none."""
    check_flood({"external-ip": "192.0.2.1", "last-external-ip": "192.0.2.4"}, 50_000, 220_000, refused=4_000)


# -- with real packets, from four hosts on all CPUs -----------------------------------------------------------------------


def all_open(storm: Storm, flows: int) -> dict[bytes, bytes]:
    """So many sessions of each sender begin, and no two have one tuple: by what the receiver saw, and by the nat's table, which is given."""
    begun = storm.begin(ON_UDP, flows)
    refused = sum(storm.drops().values())
    open_ones = storm.seen(ON_UDP)
    log.info("%d sessions begun, %d refused, in tables of %d bytes", begun, refused, storm.memory())
    assert storm.told() == (begun - refused, 0, 0)
    assert len(open_ones) == len(set(open_ones.values())) == begun - refused >= 0.98 * begun, storm.drops()
    kept = storm.sessions(ON_UDP)
    assert kept.keys() == open_ones.keys()
    return kept


def check_storm(flows: int, seconds: float, sessions: int) -> None:
    """So many sessions of each sender stay open while new ones begin and end around them."""
    with Storm(sessions) as storm:
        kept = all_open(storm, flows)
        begun = storm.told()[0] + sum(storm.drops().values())
        sent = storm.rage(ON_TCP, seconds)
        arrived, twice, unknown = storm.told()
        drops = storm.drops()
        log.info("%d sessions; then %d connections, %.0f a second, dropped %s", begun, sent, sent / seconds, drops)
        assert (twice, unknown) == (0, 0)
        assert set(drops) <= {int(FULL), int(NO_PORT)}
        assert arrived + sum(drops.values()) == begun + sent
        assert storm.sessions(ON_UDP) == kept
        last, live = storm.seen(ON_TCP), storm.sessions(ON_TCP)
        assert live.keys() <= last.keys()
        assert all(key[15] == 1 and key[14] == last[outside][0] for outside, key in live.items()), "a session is of another sender than was seen"


def test_no_tuple_is_had_by_two_flows_of_four_hosts_while_new_connections_come_as_fast_as_they_can() -> None:
    check_storm(2_000, 0.5, 60_000)


@pytest.mark.exhaustive
@pytest.mark.timeout(900)
def test_two_hundred_thousand_sessions_are_open_while_new_connections_come_for_thirty_seconds() -> None:
    check_storm(50_000, 30, 1_000_000)


@pytest.mark.exhaustive
@pytest.mark.timeout(900)
def test_a_million_sessions_are_open_at_once_where_the_document_says_so() -> None:
    with Storm(1_000_000, addresses=8) as storm:
        kept = all_open(storm, 250_000)
        assert len(kept) >= 998_000, storm.drops()
        assert storm.memory() < 600_000_000
