"""Many flows at once on all CPUs: no two have one tuple, by what comes out and by the table of sessions."""
from __future__ import annotations

import struct
import threading
from typing import Any

import pytest

from reconciler.kernel import programs
from reconciler.kernel.bpffs import Bpffs
from tests.lib.scapy_packets import IP, UDP, built
from tests.services.nat.machine import ETH, Machine

pytestmark = pytest.mark.kernel

SENDERS, FAR = 4, "198.51.100.9"
PORT_AT, SOURCE_AT = 34, 26  # in a frame
NO_PORT = "9"


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


@pytest.mark.exhaustive
def test_a_million_sessions_where_the_document_says_so() -> None:
    with Machine(snat=[{"id": 1, "internal-net": "10.0.0.0/8", "external-ip": "192.0.2.1", "last-external-ip": "192.0.2.40"}],
                 sessions=1_000_000) as nat, Bpffs(nat.root).opened("cubes/nat1/out/1_inner") as fd:  # fmt: skip
        refused = 0
        for host in range(20):
            frame = bytearray(built(ETH / IP(src=f"10.0.1.{host + 1}", dst=FAR) / UDP(sport=1, dport=53, chksum=0)))
            for port in range(1024, 51024):
                struct.pack_into("!H", frame, PORT_AT, port)
                refused += programs.test_run(fd, bytes(frame))[0] == 2
        assert refused < 2_000, nat.refusals()
        tuples = held(nat)
        assert len(tuples) == len(set(tuples)) == 1_000_000 - refused
