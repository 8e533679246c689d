"""What a flood does to connections, and how long each of their states lasts."""
from __future__ import annotations

import random
import struct
import time

import pytest

from tests.services.firewall.flood import IDLE, flooded
from tests.services.firewall.frames import MACS, ipv4
from tests.services.firewall.lab import HOST, FirewallLab
from tests.services.firewall.machine import Machine

HERE, THERE = 0x0A000002, 0x0A000001
SYN, ACK, FIN, RST = 2, 16, 1, 4
ROOM = 32_768  # for connections that are not settled


def tcp(flags: int, *, inwards: bool, source: int = THERE, port: int = 4000) -> bytes:
    """A segment between the host and port 80 of the stack, which the host began."""
    ends = (source, HERE, port, 80) if inwards else (HERE, source, 80, port)
    segment = struct.pack("!HHIIBBHHH", ends[2], ends[3], 1, 1, 0x50, flags, 1024, 0, 0)
    return MACS + b"\x08\x00" + ipv4(6, ends[0], ends[1], segment, None)


@pytest.fixture
def machine():
    with FirewallLab() as lab:
        lab.chain("INGRESS", {"l4proto": "TCP", "dport": 80, "conntrack": "NEW"}, {"l4proto": "UDP", "conntrack": "NEW"})
        lab.chain("EGRESS", default="DROP")
        lab.apply()
        with Machine(lab, "fw") as machine:
            machine.forget()
            yield machine


def session(machine: Machine) -> tuple[str, int] | None:
    found = [(each["state"], each["eta"]) for each in machine.state()["session-table"]]
    assert len(found) <= 1
    return found[0] if found else None


def test_each_state_of_a_connection_lasts_as_long_as_is_said(machine):
    course = [
        ("INGRESS", SYN, "SYN_SENT", 120), ("EGRESS", SYN | ACK, "SYN_RECV", 60), ("INGRESS", ACK, "ESTABLISHED", 432_000),
        ("EGRESS", ACK, "ESTABLISHED", 432_000), ("INGRESS", FIN | ACK, "FIN_WAIT", 120), ("EGRESS", ACK, "CLOSE_WAIT", 60),
        ("EGRESS", FIN | ACK, "LAST_ACK", 30), ("INGRESS", ACK, "TIME_WAIT", 120), ("INGRESS", SYN, "SYN_SENT", 120),
        ("EGRESS", SYN | ACK, "SYN_RECV", 60), ("EGRESS", RST | ACK, "CLOSE", 10),
    ]  # fmt: skip
    for chain, flags, state, seconds in course:
        assert machine.run(chain, tcp(flags, inwards=chain == "INGRESS")) == "ACCEPT", state
        found = session(machine)
        assert found is not None
        assert found[0] == state
        assert seconds - 3 <= found[1] <= seconds + 1


def test_a_packet_that_is_only_a_second_later_writes_nothing(machine):
    """A row that is written is taken from the memory of other CPUs; 5 days are written anew after two hours, and 180 seconds after three."""
    for chain, flags in (("INGRESS", SYN), ("EGRESS", SYN | ACK), ("INGRESS", ACK)):
        assert machine.run(chain, tcp(flags, inwards=chain == "INGRESS")) == "ACCEPT"
    again = [("INGRESS", tcp(ACK, inwards=True)), ("EGRESS", datagram(inwards=False, source=THERE, port=9))]
    for chain, frame in (("INGRESS", datagram(inwards=True, source=THERE, port=9)), *again):
        assert machine.run(chain, frame) == "ACCEPT"
    before = {name: machine.learned(name) for name in ("connections", "streams", "openings")}
    time.sleep(1.3)
    assert [machine.run(chain, frame) for chain, frame in again] == ["ACCEPT", "ACCEPT"]
    assert before == {name: machine.learned(name) for name in before}
    assert sum(map(len, before.values())) == 2


def test_a_packet_that_is_dropped_changes_no_connection(machine):
    assert machine.run("EGRESS", tcp(SYN, inwards=False)) == "DROP"
    assert session(machine) is None
    assert machine.run("INGRESS", tcp(FIN | ACK, inwards=True)) == "DROP"
    assert session(machine) is None


def test_a_flood_of_beginnings_pushes_out_no_connection_that_works(machine):
    """100,000 of them, which is three times what there is room for: beginnings of TCP, and of UDP with an answer."""
    for chain, flags in (("INGRESS", SYN), ("EGRESS", SYN | ACK), ("INGRESS", ACK)):
        machine.run(chain, tcp(flags, inwards=chain == "INGRESS"))
    rng = random.Random(1)
    for _ in range(100_000):
        source, port = rng.getrandbits(32), rng.getrandbits(16)
        machine.run("INGRESS", tcp(SYN, inwards=True, source=source, port=port))
        if not port & 7:
            machine.run("EGRESS", tcp(SYN | ACK if port & 8 else RST | ACK, inwards=False, source=source, port=port))
    assert machine.run("EGRESS", tcp(ACK, inwards=False)) == "ACCEPT"
    assert machine.run("INGRESS", tcp(ACK, inwards=True)) == "ACCEPT"
    found = machine.state()["session-table"]
    assert len(found) <= ROOM + 1
    assert [each for each in found if each["state"] == "ESTABLISHED"] == [{
        "src": HOST, "dst": "10.0.0.2", "l4proto": "TCP", "sport": 4000, "dport": 80, "state": "ESTABLISHED", "eta": pytest.approx(432_000, abs=60),
    }]  # fmt: skip
    for chain, flags in (("INGRESS", SYN), ("EGRESS", SYN | ACK), ("INGRESS", ACK)):  # a new one gets through
        assert machine.run(chain, tcp(flags, inwards=chain == "INGRESS", port=4001)) == "ACCEPT"


OLD = 100


def segment(flags: int, *, inwards: bool, source: int, port: int, seq: int, ack: int) -> bytes:
    ends = (source, HERE, port, 80) if inwards else (HERE, source, 80, port)
    return MACS + b"\x08\x00" + ipv4(6, ends[0], ends[1], struct.pack("!HHIIBBHHH", ends[2], ends[3], seq, ack, 0x50, flags, 1024, 0, 0), None)


def datagram(*, inwards: bool, source: int, port: int) -> bytes:
    ends = (source, HERE, port, 53) if inwards else (HERE, source, 53, port)
    return MACS + b"\x08\x00" + ipv4(17, ends[0], ends[1], struct.pack("!HHHH", ends[2], ends[3], 8, 0), None)


def blind(rng: random.Random, source: int, port: int) -> list[tuple[str, bytes]]:
    """A SYN from a false address, its answer, and an ACK that knows nothing of the answer."""
    where = {"source": source, "port": port}
    return [("INGRESS", segment(SYN, inwards=True, seq=1, ack=0, **where)), ("EGRESS", segment(SYN | ACK, inwards=False, seq=rng.getrandbits(32), ack=2, **where)),
            ("INGRESS", segment(ACK, inwards=True, seq=2, ack=rng.getrandbits(32), **where))]  # fmt: skip


def pair(rng: random.Random, source: int, port: int) -> list[tuple[str, bytes]]:
    """A question from a false address, its answer, and another question."""
    where = {"source": source, "port": port}
    return [("INGRESS", datagram(inwards=True, **where)), ("EGRESS", datagram(inwards=False, **where)), ("INGRESS", datagram(inwards=True, **where))]


def short(rng: random.Random, source: int, port: int) -> list[tuple[str, bytes]]:
    """A whole connection."""
    course = ((True, SYN, 1, 0), (False, SYN | ACK, 1, 2), (True, ACK, 2, 2), (True, FIN | ACK, 2, 2), (False, FIN | ACK, 2, 3), (True, ACK, 3, 3))
    return [("INGRESS" if way else "EGRESS", segment(flags, inwards=way, source=source, port=port, seq=seq, ack=ack)) for way, flags, seq, ack in course]


@pytest.mark.parametrize(("kind", "count"), [(blind, 90_000), (pair, 70_000), (short, 75_000)])
def test_no_load_of_beginnings_answers_or_ends_pushes_out_an_old_connection(machine, kind, count):
    """Each is more than all tables have room for. A blind ACK hits the right number in one of 65,000."""
    for port in range(OLD):
        for chain, frame in short(random.Random(1), THERE, 1000 + port)[:3]:
            assert machine.run(chain, frame) == "ACCEPT"
    rng = random.Random(2)
    for number in range(count):
        for chain, frame in kind(rng, 0x0B000000 + number, 2000 + (number & 1023)):
            machine.run(chain, frame)
    kept = 0
    for port in range(OLD):
        where = {"source": THERE, "port": 1000 + port, "seq": 2, "ack": 2}
        kept += machine.run("EGRESS", segment(ACK, inwards=False, **where)) == machine.run("INGRESS", segment(ACK, inwards=True, **where)) == "ACCEPT"
    assert kept == OLD
    names = [each["state"] for each in machine.state(settled=True)["session-table"]]
    assert len(names) <= OLD + 20, "what is not known to work is in no table of those that do"


@pytest.mark.slow
@pytest.mark.parametrize("hook", ["TC", pytest.param("XDP_DRV", marks=pytest.mark.exhaustive)])
def test_under_a_flood_of_syns_connections_go_on_and_new_ones_are_made(hook):
    """For five seconds, from a real sender; `benchmarks.firewall_flood` does it for a minute."""
    with FirewallLab(hook=hook) as lab:
        found = flooded(lab, seconds=5, beginnings=2 * ROOM)
    assert found.syns > 2 * ROOM, "more than there is room for, or it would be no flood"
    assert found.kept == IDLE
    assert found.longest < 1
    assert found.sessions <= ROOM + IDLE + len(found.new_seconds) + 2
    assert found.refused <= len(found.new_seconds) // 10
