"""policy-rematch: connections that were accepted, and the rules and sets that change: by sockets of both families, and packet by packet."""
from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Iterator

import pytest

from reconciler.plan.steps import Rank
from tests.lib.lab import HOOKS, Lab, counts
from tests.lib.open_flows import open_flow, passes
from tests.services.firewall.frames import MACS, ipv4
from tests.services.firewall.lab import FirewallLab
from tests.services.firewall.machine import Machine

CLIENT, SERVER = {4: "10.0.0.1", 6: "fd00::1"}, {4: "10.0.0.2", 6: "fd00::2"}
TEXT = """
hosts: {h1: {addresses: [10.0.0.1/24, fd00::1/64]}, h2: {addresses: [10.0.0.2/24, fd00::2/64]}}
cubes:
  - name: sf
    service-name: simpleforwarder
    ports: [{name: p1, peer: v1, tcubes: [fw]}, {name: p2, peer: v2}]
    actions: [{inport: p1, action: FORWARD, outport: p2}, {inport: p2, action: FORWARD, outport: p1}]
  - {name: fw, service-name: firewall, policy-rematch: "ON"}
"""
NEIGHBOURS = {"id": 1, "l4proto": "ICMPV6"}
PORT = 7000


class Lab2(Lab):
    """Two hosts. What h1 sends is INGRESS, where only what `friends` send to a port passes; EGRESS drops all that begins there."""

    def __init__(self, hook: str) -> None:
        super().__init__(TEXT, hook=hook)
        self.friends: list[str] = [*CLIENT.values()]
        self.rules = [{"id": 10, "src-set": "friends", "l4proto": proto, "dport": PORT} for proto in ("TCP", "UDP")]

    def apply(self):
        chains = [{"name": name, "default": "DROP", "rule": [NEIGHBOURS, *({**rule, "id": 10 + at} for at, rule in enumerate(own))]}
                  for name, own in (("INGRESS", self.rules), ("EGRESS", ()))]  # fmt: skip
        self.cube("fw").update({"chain": chains, "set": [{"name": "friends", "prefix": self.friends}]})
        return super().apply()

    def connection(self, family: int, kind: socket.SocketKind) -> contextlib.AbstractContextManager[tuple[socket.socket, socket.socket]]:
        return open_flow(self.space("h1"), self.space("h2"), SERVER[family], PORT, kind)


@pytest.fixture(params=HOOKS)
def lab(request) -> Iterator[Lab2]:
    with Lab2(request.param) as lab:
        lab.apply()
        yield lab


def without_friends(lab: Lab2) -> None:
    lab.friends = []


def without_rules(lab: Lab2) -> None:
    lab.rules = []


@pytest.mark.parametrize("change", [without_friends, without_rules])
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
@pytest.mark.parametrize("family", [4, 6])
def test_a_connection_stops_in_both_directions_when_the_rules_refuse_it_and_goes_on_when_they_accept_it(lab, change, kind, family):
    before = lab.friends, lab.rules
    with lab.connection(family, kind) as (client, server):
        change(lab)
        lab.apply()
        assert not passes(server, client, 0.5), "an answer is the first packet after the change"
        assert not passes(client, server, 0.5)
        lab.friends, lab.rules = before
        lab.apply()
        assert passes(server, client)
        assert passes(client, server)


@pytest.mark.parametrize("family", [4, 6])
def test_other_connections_go_on_through_every_change(lab, family):
    with lab.connection(family, socket.SOCK_STREAM) as (client, server), lab.connection(family, socket.SOCK_DGRAM) as (asks, answers):
        for number in range(6):
            lab.friends = [*CLIENT.values(), *(f"192.0.2.{each}" for each in range(1, 1 + number % 3))]
            if number == 4:
                lab.rules = [*lab.rules, {"l4proto": "TCP", "dport": 1}]
            lab.apply()
            assert passes(server, client)
            assert passes(client, server)
            assert passes(answers, asks)
            assert passes(asks, answers)


def test_without_it_a_connection_that_was_accepted_goes_on(lab):
    lab.cube("fw")["policy-rematch"] = "OFF"
    lab.apply()
    with lab.connection(4, socket.SOCK_STREAM) as (client, server):
        lab.friends = []
        lab.apply()
        assert passes(server, client)
        assert passes(client, server)
        lab.cube("fw")["policy-rematch"] = "ON"
        lab.apply()
        assert not passes(server, client, 0.5), "one of before, too"
        assert not passes(client, server, 0.5)


def test_a_line_of_the_log_about_an_answer_tells_of_what_it_answers(lab):
    with lab.connection(4, socket.SOCK_DGRAM) as (_, server):
        lab.rules = [*lab.rules[:1], {"action": "LOG", "l4proto": "UDP", "log-prefix": "refused: "}]
        lab.apply()
        with lab.logged() as lines:
            assert not passes(server, server, 0.3)
        client = f"SPT={server.getpeername()[1]} DPT={PORT}"
        assert any("RULE=11 CHAIN=INGRESS" in line and "SRC=10.0.0.1 DST=10.0.0.2" in line and client in line for line in lines), lines


def test_what_an_edit_of_a_set_costs_and_in_which_order_it_is_done(lab):
    """The version is over only once the member is gone: else a packet could meet it and count as asked afterwards."""
    lab.friends = [*lab.friends, "192.0.2.1"]
    assert counts(lab.apply()).map_writes == 3  # the entry, the version, the one before
    lab.friends = lab.friends[:-1]
    plan = lab.apply().plan
    steps = [(step.address.rpartition("/")[2], step.action, step.rank) for step in plan.steps if "table" in step.address]
    assert steps == [("set_versions", "write", Rank.POPULATE), ("set_hosts", "delete", Rank.RETIRE), ("set_versions", "delete", Rank.RETIRE)]
    lab.friends = [*lab.friends, "192.0.2.0/24"]
    lab.apply()
    lab.friends = lab.friends[:-1]
    steps = [step.address.rpartition("/")[2] for step in lab.apply().plan.steps if step.rank == Rank.RETIRE and "table" in step.address]
    assert steps == ["set_prefixes", "set_versions"]
    assert not lab.apply().plan.steps
    assert lab.live_cube("fw")["policy-rematch"] == "ON"


# -- packet by packet --------------------------------------------------------------------------------------------------------

A, B = 0x0A000001, 0x0A000002


def udp(src: int, dst: int, sport: int, dport: int) -> bytes:
    return MACS + b"\x08\x00" + ipv4(17, src, dst, struct.pack("!HHHH", sport, dport, 12, 0) + bytes(4), None)


def error_about(frame: bytes, src: int, dst: int) -> bytes:
    """Port unreachable, from one to the other, about a packet."""
    return MACS + b"\x08\x00" + ipv4(1, src, dst, struct.pack("!BBHI", 3, 3, 0, 0) + frame[14:42], None)


@pytest.fixture(params=HOOKS)
def machine(request) -> Iterator[tuple[Machine, dict]]:
    with FirewallLab(hook=request.param, policy_rematch="ON") as lab:
        lab.chain("INGRESS", {"dst": "10.0.0.2", "action": "DROP"}, default="ACCEPT")
        lab.chain("EGRESS", default="ACCEPT")
        lab.apply()
        with Machine(lab, "fw") as machine:
            machine.forget()
            yield machine, lab.firewall


ASKS, ANSWERS = udp(A, B, 5000, 53), udp(B, A, 53, 5000)


def test_what_the_second_chain_refuses_has_no_answer(machine):
    """Both ends are behind the firewall: what A sends passes EGRESS, and INGRESS before it reaches B."""
    machine, firewall = machine
    firewall["chain"][1]["rule"] = [{"id": 1, "src": "10.0.0.2", "conntrack": "ESTABLISHED"}, {"id": 2, "src": "10.0.0.2", "action": "DROP"}]
    machine.load(firewall)
    for _ in range(2):
        assert machine.run("EGRESS", ASKS) == "ACCEPT"
        assert machine.run("INGRESS", ASKS) == "DROP"
        assert machine.run("EGRESS", ANSWERS) == "DROP"


def test_what_answers_a_refused_packet_may_begin_a_connection_of_its_own(machine):
    """And the refused one is then what answers it."""
    machine, _ = machine
    assert machine.run("EGRESS", ASKS) == "ACCEPT"
    assert machine.run("INGRESS", ASKS) == "DROP"
    assert machine.run("EGRESS", ANSWERS) == "ACCEPT"
    assert machine.run("INGRESS", ANSWERS) == "ACCEPT"
    assert [each["src"] for each in machine.state()["session-table"]] == ["10.0.0.2"]
    assert [machine.run(chain, ASKS) for chain in ("EGRESS", "INGRESS")] == ["ACCEPT", "ACCEPT"]


def test_a_connection_that_takes_an_answered_ones_place_leaves_no_second_row(machine):
    machine, _ = machine
    assert machine.run("EGRESS", ASKS) == "ACCEPT"
    assert machine.run("INGRESS", ANSWERS) == "ACCEPT"
    time.sleep(2.2)  # a stream, as Linux has it, which is in a table of its own
    assert machine.run("EGRESS", ASKS) == "ACCEPT"
    assert [(each["src"], each["state"]) for each in machine.state()["session-table"]] == [("10.0.0.1", "ESTABLISHED")]
    assert machine.run("EGRESS", ANSWERS) == "ACCEPT"
    assert [(each["src"], each["state"]) for each in machine.state()["session-table"]] == [("10.0.0.2", "NEW")]
    assert machine.run("INGRESS", ASKS) == "ACCEPT", "it answers the one of now"


def test_each_chain_is_asked_anew_of_what_passes_both(machine):
    machine, firewall = machine
    refuses = firewall["chain"][0]["rule"]
    firewall["chain"][0]["rule"] = []
    machine.load(firewall)
    both = [("EGRESS", ASKS), ("INGRESS", ASKS), ("EGRESS", ANSWERS), ("INGRESS", ANSWERS)]
    assert [machine.run(*each) for each in both] == ["ACCEPT"] * 4
    firewall["chain"][0]["rule"] = refuses
    machine.load(firewall)
    assert [machine.run(*each) for each in both] == ["ACCEPT", "DROP", "DROP", "ACCEPT"]
    assert [machine.run(*each) for each in reversed(both)] == ["ACCEPT", "DROP", "DROP", "ACCEPT"]


def test_an_error_is_related_to_a_connection_while_the_rules_accept_that(machine):
    machine, firewall = machine
    firewall["chain"][0]["rule"] = [{"id": 1, "conntrack": "RELATED"}, {"id": 2, "l4proto": "ICMP", "action": "DROP"}]
    machine.load(firewall)
    assert machine.run("EGRESS", ASKS) == "ACCEPT"
    assert machine.run("INGRESS", error_about(ASKS, B, A)) == "ACCEPT"
    firewall["chain"][1]["rule"] = [{"id": 1, "dst": "10.0.0.2", "action": "DROP"}]
    machine.load(firewall)
    assert machine.run("INGRESS", error_about(ASKS, B, A)) == "DROP"
    assert machine.run("EGRESS", ASKS) == "DROP"
    assert machine.run("INGRESS", error_about(ASKS, B, A)) == "DROP"
    firewall["chain"][1]["rule"] = []
    machine.load(firewall)
    assert machine.run("EGRESS", ASKS) == "ACCEPT"
    assert machine.run("INGRESS", error_about(ASKS, B, A)) == "ACCEPT"


def test_what_goes_on_is_looked_up_once_after_a_change(machine):
    machine, firewall = machine
    firewall["chain"][1]["rule"] = [{"id": 5, "l4proto": "UDP", "dport": 53}]
    machine.load(firewall)

    def hits() -> tuple[int, int]:
        found = machine.hits()
        return found["EGRESS", "5"], found["EGRESS", "established"] + found["INGRESS", "established"]

    for chain, frame in (("EGRESS", ASKS), ("INGRESS", ANSWERS), ("EGRESS", ASKS)):
        assert machine.run(chain, frame) == "ACCEPT"
    assert hits() == (1, 2)
    firewall["chain"][0]["rule"] = []
    machine.load(firewall)
    for chain, frame in (("INGRESS", ANSWERS), ("EGRESS", ASKS), ("INGRESS", ANSWERS)):
        assert machine.run(chain, frame) == "ACCEPT"
    assert hits() == (2, 4)


