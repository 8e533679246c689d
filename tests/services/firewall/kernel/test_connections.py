"""What a flood does to connections, and how long each of their states lasts."""
from __future__ import annotations

import random
import struct

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
        ("EGRESS", ACK, "ESTABLISHED", 432_000), ("INGRESS", FIN | ACK, "FIN_WAIT", 120), ("EGRESS", FIN | ACK, "LAST_ACK", 30),
        ("INGRESS", ACK, "TIME_WAIT", 120), ("INGRESS", SYN, "SYN_SENT", 120), ("EGRESS", RST | ACK, "TIME_WAIT", 120),
    ]  # fmt: skip
    for chain, flags, state, seconds in course:
        assert machine.run(chain, tcp(flags, inwards=chain == "INGRESS")) == "ACCEPT", state
        found = session(machine)
        assert found is not None
        assert found[0] == state
        assert seconds - 3 <= found[1] <= seconds + 1


def test_a_packet_that_is_dropped_changes_no_connection(machine):
    assert machine.run("EGRESS", tcp(SYN, inwards=False)) == "DROP"
    assert session(machine) is None
    assert machine.run("INGRESS", tcp(ACK, inwards=True)) == "DROP"
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
