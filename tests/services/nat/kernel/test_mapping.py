"""Endpoint-independent mapping and filtering (RFC 4787, 5382): with real sockets, as a host inside finds out with STUN, and packet by packet."""
from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from reconciler.kernel import netns
from tests.lib.scapy_packets import ICMP, IP, Ether, Raw, built
from tests.services.nat.lab import TEXT, NatLab
from tests.services.nat.machine import ETH, Machine, echo, ends, tcp, udp

pytestmark = pytest.mark.kernel

EVERYBODYS = {"mapping": "endpoint-independent"}
OPEN = EVERYBODYS | {"filtering": "endpoint-independent"}
OUT = {4: "192.0.2.1", 6: "2001:db8::1"}
IN = {4: "10.0.0.1", 6: "fd00::1"}
OTHER = {4: "10.0.0.2", 6: "fd00::2"}
FAR = {4: "198.51.100.9", 6: "2001:db8:f::9"}
THIRD = {4: "198.51.100.10", 6: "2001:db8:f::10"}
RULE = {"masquerade": {"enabled": True, "external-ip": OUT[4], "external-ipv6": OUT[6]}}
NO_PORT, NO_SESSION = "9", "10"
Make = Callable[..., Machine]


@pytest.fixture(params=["TC", "XDP_DRV"])
def made(request: pytest.FixtureRequest) -> Iterator[Make]:
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(Machine(hook=request.param, **{**RULE, **settings}))


# -- with sockets -------------------------------------------------------------------------------------------------------

HOSTS = TEXT.replace("[10.0.1.1/24, ", "[10.0.1.1/24, 10.0.1.2/24, ").replace("[10.0.2.1/24, ", "[10.0.2.1/24, 10.0.2.2/24, ")


class Sockets:
    """UDP sockets in the hosts of a lab."""

    def __init__(self, lab: NatLab, stack: ExitStack) -> None:
        self.lab, self.stack = lab, stack

    def __call__(self, host: str, address: str, port: int) -> socket.socket:
        with netns.inside(self.lab.space(host)):
            made = self.stack.enter_context(socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM))
            made.bind((address, port))
        made.settimeout(1)
        return made


def asked(client: socket.socket, server: socket.socket) -> tuple[str, int]:
    """As whom a server sees a client, which hears its answer."""
    client.sendto(b"who am I?", server.getsockname()[:2])
    said, seen = server.recvfrom(100)
    server.sendto(repr(seen[:2]).encode(), seen)
    assert client.recv(100) == repr(seen[:2]).encode()
    assert said == b"who am I?"
    return seen[0], seen[1]


def unasked(server: socket.socket, to: tuple[str, int], client: socket.socket) -> bool:
    server.sendto(b"hello", to)
    client.settimeout(0.3)
    try:
        return client.recv(100) == b"hello"
    except TimeoutError:
        return False


@pytest.mark.parametrize("hook", ["TC", "XDP_DRV"])
@pytest.mark.parametrize("settings", [{}, EVERYBODYS, OPEN], ids=["by far end", "mapping", "mapping and filtering"])
def test_servers_at_two_addresses_and_ports_see_one_mapping_of_a_client_and_a_stranger_reaches_it_where_anybody_may(hook, settings) -> None:
    with NatLab(HOSTS, hook=hook, **settings) as lab, ExitStack() as stack:
        lab.apply()
        for host, address in (("h1", "10.0.2.1"), ("h1", "10.0.2.2"), ("h2", "10.0.1.1"), ("h2", "10.0.1.2")):
            lab.reach(host, address)
        lab.rules(masquerade={"enabled": True})
        sockets = Sockets(lab, stack)
        servers = [sockets("h2", address, port) for address in ("10.0.2.1", "10.0.2.2") for port in (3478, 3479)]
        first, second = sockets("h1", "10.0.1.1", 5000), sockets("h1", "10.0.1.2", 5000)
        assert [asked(first, server) for server in servers[:3]] == [("10.0.2.254", 5000)] * 3
        seen = {asked(second, server) for server in servers[:3]}
        assert len(seen) == (1 if settings else 3)
        assert ("10.0.2.254", 5000) not in seen
        assert unasked(servers[3], seen.pop(), second) == ("filtering" in settings)
        told = lab.live_cube("nat1", state=True)["mapping-table"]
        assert [(each["internal-src"], each["internal-sport"]) for each in told if each["proto"] == "UDP"] == (
            [("10.0.1.1", 5000), ("10.0.1.2", 5000)] if settings else [])  # fmt: skip


# -- packet by packet ---------------------------------------------------------------------------------------------------


def test_all_protocols_with_ports_have_mappings_in_both_families(made: Make) -> None:
    nat = made(**EVERYBODYS)
    for family in (4, 6):
        for make in (tcp, udp):
            nat.out(make(IN[family], 4000, FAR[family], 53))
            outside = (ends(nat.out(make(OTHER[family], 4000, FAR[family], 53))) or ("", 0))[:2]
            assert outside[1] != 4000
            for far, port in ((FAR[family], 54), (THIRD[family], 53), (THIRD[family], 9)):
                assert ends(nat.out(make(OTHER[family], 4000, far, port))) == (*outside, far, port)
                assert ends(nat.back(make(far, port, *outside, *(["SA"] if make is tcp else [])))) == (far, port, OTHER[family], 4000)
        nat.out(echo(IN[family], FAR[family], 7))
        number = (ends(nat.out(echo(OTHER[family], FAR[family], 7))) or ("", 0))[1]
        assert number != 7
        assert ends(nat.out(echo(OTHER[family], THIRD[family], 7))) == (OUT[family], number, THIRD[family], number)
    assert nat.refusals() == {}
    assert nat.drift() == []


def test_where_only_the_mapping_is_everybodys_a_stranger_is_passed_by_and_its_port_is_kept(made: Make) -> None:
    nat = made(**EVERYBODYS)
    nat.out(udp(IN[4], 4000, FAR[4], 53))
    assert ends(nat.back(udp(THIRD[4], 9, OUT[4], 4000))) == (THIRD[4], 9, OUT[4], 4000)  # untranslated: for who has that address
    assert len(nat.sessions()) == 1


def test_anybody_may_begin_and_be_answered_and_a_rule_goes_before_a_mapping(made: Make) -> None:
    nat = made(**OPEN, port_forwarding=[{"id": 1, "external-ip": OUT[4], "external-port": 4001, "proto": "ALL", "internal-ip": OTHER[4],
                                         "internal-port": 80}])  # fmt: skip
    for family in (4, 6):
        nat.out(tcp(IN[family], 4000, FAR[family], 53))
        assert ends(nat.back(tcp(THIRD[family], 9, OUT[family], 4000))) == (THIRD[family], 9, IN[family], 4000)
        assert ends(nat.out(tcp(IN[family], 4000, THIRD[family], 9, "SA"))) == (OUT[family], 4000, THIRD[family], 9)
        assert ends(nat.back(tcp(THIRD[family], 10, OUT[family], 4000, "R"))) == (THIRD[family], 10, OUT[family], 4000)  # it begins nothing
        assert ends(nat.back(udp(THIRD[family], 9, OUT[family], 4000))) == (THIRD[family], 9, OUT[family], 4000)  # another protocol
    nat.out(tcp(IN[4], 4001, FAR[4], 53))
    assert ends(nat.back(tcp(THIRD[4], 9, OUT[4], 4001))) == (THIRD[4], 9, OTHER[4], 80)


def test_errors_about_a_session_of_a_mapping_are_translated(made: Make) -> None:
    nat = made(**EVERYBODYS)
    nat.out(udp(IN[4], 4000, FAR[4], 53))
    nat.out(udp(OTHER[4], 4000, FAR[4], 53))
    gone = nat.out(udp(OTHER[4], 4000, THIRD[4], 53))
    assert gone is not None
    back = nat.back(ETH / IP(src=THIRD[4], dst=OUT[4]) / ICMP(type=3, code=3) / Raw(bytes(Ether(built(gone)).payload)[:28]))
    assert back is not None
    assert back[IP].dst == OTHER[4]


def eta(nat: Machine) -> int:
    (mapping,) = nat.live_cube("nat1", state=True)["mapping-table"]
    return int(mapping["eta"])


def test_a_mapping_lives_as_its_sessions_do(made: Make) -> None:
    """Open connections for hours, closed ones for minutes, whoever closes them last; strangers do not keep it."""
    nat = made(**OPEN, timeouts={"udp": 20})
    nat.out(udp(IN[4], 4000, FAR[4], 53))
    before = eta(nat)
    time.sleep(2.2)
    nat.back(udp(THIRD[4], 53, OUT[4], 4000))
    time.sleep(1.1)
    nat.back(udp(THIRD[4], 53, OUT[4], 4000))
    assert eta(nat) <= before - 3
    nat.back(udp(FAR[4], 53, OUT[4], 4000))
    assert eta(nat) >= before - 1
    nat.flush("nat1", "sessions")
    near, far = (IN[4], 4000), (FAR[4], 80)
    steps: list[tuple[bool, str, bool]] = [(True, "S", False), (False, "SA", False), (True, "A", True), (True, "FA", True), (False, "FA", False),
                                           (True, "A", False)]  # fmt: skip
    for inside, flags, is_open in steps:
        nat.out(tcp(*near, *far, flags)) if inside else nat.back(tcp(*far, OUT[4], 4000, flags))
        assert (eta(nat) > 300) == is_open, (inside, flags, eta(nat))


def test_a_mapping_whose_time_is_over_is_taken_up_again_or_anothers(made: Make) -> None:
    nat = made(**OPEN, timeouts={"udp": 3}, port_range="5000-5000")
    for _ in range(2):
        assert ends(nat.out(udp(IN[4], 4000, FAR[4], 53))) == (OUT[4], 5000, FAR[4], 53)
        time.sleep(4.1)
        assert ends(nat.back(udp(THIRD[4], 9, OUT[4], 5000))) == (THIRD[4], 9, OUT[4], 5000)  # nobody's
        assert nat.live_cube("nat1", state=True)["mapping-table"] == []
    assert ends(nat.out(udp(OTHER[4], 4000, THIRD[4], 53))) == (OUT[4], 5000, THIRD[4], 53)
    assert nat.out(udp(IN[4], 4000, FAR[4], 53)) is None
    assert nat.refusals() == {NO_PORT: 1}


def test_a_mapping_ends_with_its_rule_and_another_rule_makes_another(made: Make) -> None:
    nat = made(**OPEN)
    nat.out(udp(IN[4], 4000, FAR[4], 53))
    nat.set(snat=[{"id": 1, "internal-net": "10.0.0.1/32", "external-ip": "192.0.2.2"}])
    nat.apply()
    assert ends(nat.out(udp(IN[4], 4000, FAR[4], 53))) == (OUT[4], 4000, FAR[4], 53)  # a session stays as it began
    assert ends(nat.out(udp(IN[4], 4000, THIRD[4], 53))) == ("192.0.2.2", 4000, THIRD[4], 53)
    nat.set(snat=[], masquerade={"enabled": False})
    nat.apply()
    told: dict[str, Any] = nat.live_cube("nat1", state=True)
    assert (told["natting-table"], told["mapping-table"]) == ([], [])


def test_a_port_that_is_anothers_for_a_far_end_is_refused_there_and_not_exchanged(made: Make) -> None:
    """Who was forwarded has that tuple already."""
    nat = made(**EVERYBODYS, port_forwarding=[{"id": 1, "external-ip": OUT[4], "external-port": 4000, "proto": "UDP", "internal-ip": OTHER[4],
                                               "internal-port": 4000}])  # fmt: skip
    assert ends(nat.back(udp(FAR[4], 53, OUT[4], 4000))) == (FAR[4], 53, OTHER[4], 4000)
    assert ends(nat.out(udp(IN[4], 4000, THIRD[4], 53))) == (OUT[4], 4000, THIRD[4], 53)
    assert nat.out(udp(IN[4], 4000, FAR[4], 53)) is None
    assert nat.refusals() == {NO_PORT: 1}


# -- two that are both inside, each by the other's mapping (RFC 4787 REQ-9) -----------------------------------------------


def two_mapped(settings: dict[str, Any], family: int, make: Callable[..., Any], stack: ExitStack) -> tuple[Machine, tuple[str, int], tuple[str, int]]:
    """A nat, and the mappings of IN and of OTHER, both of port 4000."""
    nat = stack.enter_context(Machine(hook="TC", hairpin=True, **{**RULE, **settings}))
    seen = [(ends(nat.out(make(host[family], 4000, FAR[family], 53))) or ("", 0))[:2] for host in (IN, OTHER)]
    assert seen[0] == (OUT[family], 4000) != seen[1]
    return nat, seen[0], seen[1]


@pytest.mark.parametrize("make", [tcp, udp])
@pytest.mark.parametrize("family", [4, 6])
def test_two_inside_speak_by_their_mappings_and_see_each_other_as_strangers_do(family: int, make: Callable[..., Any]) -> None:
    with ExitStack() as stack:
        nat, one, other = two_mapped(OPEN, family, make, stack)
        assert ends(nat.turned(make(IN[family], 4000, *other))) == (*one, OTHER[family], 4000)
        answer = make(OTHER[family], 4000, *one, *(["SA"] if make is tcp else []))
        assert ends(nat.turned(answer)) == (*other, IN[family], 4000)
        assert ends(nat.turned(make(IN[family], 4001, *other))) == (OUT[family], 4001, OTHER[family], 4000)  # who had no mapping gets one
        assert ends(nat.out(make(IN[family], 4000, FAR[family], 53))) == (*one, FAR[family], 53)
        assert nat.verdict != "redirect"
        assert nat.refusals() == {}


def test_an_error_about_what_turned_around_to_a_mapping_does_so_too() -> None:
    with ExitStack() as stack:
        nat, one, other = two_mapped(OPEN, 4, udp, stack)
        came = nat.turned(udp(IN[4], 4000, *other))
        assert came is not None
        back = nat.turned(ETH / IP(src=OTHER[4], dst=one[0]) / ICMP(type=3, code=3) / Raw(bytes(Ether(built(came)).payload)[:28]))
        assert back is not None
        assert (back[IP].src, back[IP].dst) == (other[0], IN[4])


def test_where_only_who_was_spoken_to_may_answer_both_have_to_speak_first() -> None:
    with ExitStack() as stack:
        nat, one, other = two_mapped(EVERYBODYS, 4, udp, stack)
        assert nat.turned(udp(IN[4], 4000, *other)) is None
        assert nat.refusals() == {NO_SESSION: 1}
        assert ends(nat.turned(udp(OTHER[4], 4000, *one))) == (*other, IN[4], 4000)
        assert ends(nat.turned(udp(IN[4], 4000, *other))) == (*one, OTHER[4], 4000)


def test_without_hairpin_what_is_for_a_mapping_goes_out() -> None:
    with ExitStack() as stack:
        nat, _, other = two_mapped(OPEN, 4, udp, stack)
        nat.set(hairpin=False)
        nat.apply()
        assert ends(nat.out(udp(IN[4], 4000, *other))) == (OUT[4], 4000, *other)
        assert nat.verdict != "redirect"
