"""What the nat does to packets, one by one: both families, both hooks, against what scapy makes of the packets."""
from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Network, IPv6Address, ip_address
from typing import Any

import pytest

from cubes.nat import MARKS
from cubes.nat.rules import SNAT, Source
from tests.lib.scapy_packets import ICMP, IP, UDP, Ether, ICMPv6DestUnreach, IPv6, IPv6ExtHdrFragment, Raw, built
from tests.services.nat.machine import ETH, Machine, echo, ends, is_right, tcp, udp

pytestmark = pytest.mark.kernel

OUT = {4: "192.0.2.1", 6: "2001:db8::1"}  # the address outside
IN = {4: "10.0.0.1", 6: "fd00::1"}
OTHER = {4: "10.0.0.2", 6: "fd00::2"}
FAR = {4: "198.51.100.9", 6: "2001:db8:f::9"}
X = {4: "192.0.2.80", 6: "2001:db8::80"}
MASQUERADE = {"enabled": True, "external-ip": OUT[4], "external-ipv6": OUT[6]}
FULL, NO_PORT, NO_SESSION, FRAGMENT, NO_PREFIX = map(str, range(8, 13))
Make = Callable[..., Machine]


@pytest.fixture(params=["TC", "XDP_DRV"])
def made(request: pytest.FixtureRequest) -> Iterator[Make]:
    machines: list[Machine] = []

    def make(**settings: Any) -> Machine:
        machine = Machine(hook=request.param, **settings)
        machines.append(machine)
        machine.__enter__()
        return machine

    yield make
    for machine in machines:
        machine.__exit__()


@pytest.fixture
def nat(made: Make) -> Machine:
    forwarded = [{"id": n, "external-ip": X[family], "external-port": 80, "proto": "TCP", "internal-ip": IN[family], "internal-port": 8080}
                 for n, family in ((1, 4), (2, 6))]  # fmt: skip
    return made(masquerade=MASQUERADE, port_forwarding=forwarded, dnat=[{"id": 1, "external-ip": "192.0.2.90", "internal-ip": IN[4]}])


@pytest.mark.parametrize("family", [4, 6])
def test_a_flow_keeps_its_port_and_the_next_with_that_port_gets_another(nat: Machine, family: int) -> None:
    for make in (udp, tcp):
        first = nat.out(make(IN[family], 4000, FAR[family], 53))
        second = nat.out(make(OTHER[family], 4000, FAR[family], 53))
        assert ends(first) == (OUT[family], 4000, FAR[family], 53)
        assert first is not None
        assert second is not None
        assert is_right(first)
        assert is_right(second)
        source, port, *_ = ends(second) or ("", 0)
        assert (source, port != 4000, 1024 <= port <= 65535) == (OUT[family], True, True)
        assert ends(nat.back(make(FAR[family], 53, OUT[family], 4000, *(["SA"] if make is tcp else [])))) == (FAR[family], 53, IN[family], 4000)
        assert ends(nat.back(make(FAR[family], 53, OUT[family], port, *(["SA"] if make is tcp else [])))) == (FAR[family], 53, OTHER[family], 4000)


@pytest.mark.parametrize("family", [4, 6])
def test_echoes_are_told_apart_by_their_identifier(nat: Machine, family: int) -> None:
    assert ends(nat.out(echo(IN[family], FAR[family], 4000))) == (OUT[family], 4000, FAR[family], 4000)
    number = (ends(nat.out(echo(OTHER[family], FAR[family], 4000))) or ("", 0))[1]
    assert number != 4000
    back = nat.back(echo(FAR[family], OUT[family], number, reply=True))
    assert ends(back) == (FAR[family], 4000, OTHER[family], 4000)
    assert back is not None
    assert is_right(back)


def test_what_is_forwarded_and_its_answers(nat: Machine) -> None:
    for family in (4, 6):
        assert ends(nat.back(tcp(FAR[family], 5000, X[family], 80))) == (FAR[family], 5000, IN[family], 8080)
        assert ends(nat.out(tcp(IN[family], 8080, FAR[family], 5000, "SA"))) == (X[family], 80, FAR[family], 5000)
    assert ends(nat.back(echo(FAR[4], "192.0.2.90", 7))) == (FAR[4], 7, IN[4], 7)
    assert ends(nat.out(echo(IN[4], FAR[4], 7, reply=True))) == ("192.0.2.90", 7, FAR[4], 7)
    assert ends(nat.back(tcp(FAR[4], 5000, X[4], 81))) == (FAR[4], 5000, X[4], 81)  # no rule is for it


@pytest.mark.parametrize("family", [4, 6])
def test_errors_are_translated_with_what_they_quote(nat: Machine, family: int) -> None:
    """From outside about what went out, and from inside about what came in; also where no more than the least is quoted."""
    network = IP if family == 4 else IPv6

    def error(src: str, dst: str, about: Any, quoted: int) -> Any:
        body = bytes(about.payload)[:quoted]
        if family == 4:
            return ETH / IP(src=src, dst=dst) / ICMP(type=3, code=3) / Raw(body)
        return ETH / IPv6(src=src, dst=dst) / ICMPv6DestUnreach(code=4) / Raw(body)

    least = 28 if family == 4 else 48
    for make in (udp, tcp, echo):
        sent = make(IN[family], FAR[family], 4100) if make is echo else make(IN[family], 4100, FAR[family], 53)
        nat.out(make(OTHER[family], FAR[family], 4100) if make is echo else make(OTHER[family], 4100, FAR[family], 53))
        gone = nat.out(sent)  # with another port than its own
        assert gone is not None
        for quoted in (least, 200):
            back = nat.back(error(FAR[family], OUT[family], Ether(built(gone)), quoted))
            assert back is not None
            wanted = error(FAR[family], IN[family], Ether(built(sent)), quoted)
            assert bytes(back)[: len(built(wanted))] == built(wanted), (make.__name__, quoted)
            assert back[network].dst == IN[family]
    nat.back(tcp(FAR[family], 6000, X[family], 80))
    come = tcp(FAR[family], 6000, IN[family], 8080)
    out = nat.out(error(IN[family], FAR[family], Ether(built(come)), least))
    wanted = error(X[family], FAR[family], Ether(built(tcp(FAR[family], 6000, X[family], 80))), least)
    assert out is not None
    same = bytes(out)[: len(built(wanted))]
    assert same[:14] + same[34:36] == built(wanted)[:14] + built(wanted)[34:36]
    assert ends(out) is not None
    assert out[network].src == X[family]


def test_an_error_about_nothing_does_not_leave_with_an_address_from_inside(nat: Machine) -> None:
    stray = ETH / IP(src=IN[4], dst=FAR[4]) / ICMP(type=3, code=3) / Raw(bytes(udp(FAR[4], 1, IN[4], 2).payload)[:28])
    assert nat.out(stray) is None
    assert nat.refusals() == {NO_SESSION: 1}


@pytest.mark.parametrize("family", [4, 6])
def test_later_fragments_follow_their_first_one_and_none_else(nat: Machine, family: int) -> None:
    def piece(first: bool, number: int) -> Any:
        body = bytes(UDP(sport=4200, dport=53, len=48, chksum=7)) + bytes(24) if first else bytes(16)
        if family == 4:
            return ETH / IP(src=IN[4], dst=FAR[4], id=number, flags="MF" if first else 0, frag=0 if first else 4, proto=17) / Raw(body)
        extension = IPv6ExtHdrFragment(id=number, m=int(first), offset=0 if first else 4, nh=17)
        return ETH / IPv6(src=IN[6], dst=FAR[6]) / extension / Raw(body)

    assert nat.out(piece(False, 1)) is None
    assert nat.refusals() == {FRAGMENT: 1}
    for _ in range(2):
        first, later = nat.out(piece(True, 2)), nat.out(piece(False, 2))
        assert first is not None
        assert later is not None
        assert (ends(first) or ("",))[0] == (ends(later) or ("",))[0] == OUT[family]
    assert nat.out(piece(False, 3)) is None


def test_what_stays_on_its_link_and_what_is_no_ip_passes_as_it_is(nat: Machine) -> None:
    for frame in (udp(IN[4], 68, "255.255.255.255", 67), udp("0.0.0.0", 68, FAR[4], 67), udp(IN[4], 1, "224.0.0.5", 1),
                  udp("fe80::1", 1, "ff02::1", 1), udp("fe80::1", 1, "fe80::2", 1), ETH / Raw(b"\x08\x06" + bytes(50))):  # fmt: skip
        found = nat.out(frame)
        assert found is not None
        assert bytes(found)[: len(built(frame))] == built(frame)
    assert nat.out(b"\2" * 12 + b"\x08\x00\x42" + bytes(40)) is None
    assert nat.refusals() == {"MALFORMED": 1}


def test_a_reset_of_nothing_does_not_leave_and_one_of_who_has_the_address_does(nat: Machine) -> None:
    assert nat.out(tcp(IN[4], 1, FAR[4], 2, "R")) is None
    assert ends(nat.out(tcp(OUT[4], 1, FAR[4], 2, "R"))) == (OUT[4], 1, FAR[4], 2)


def test_prefixes_are_translated_by_rfc_6296_and_no_checksum_changes(made: Make) -> None:
    nat = made(nptv6=[{"id": 1, "internal-prefix": "fd01:203:405::/48", "external-prefix": "2001:db8:1::/48"},
                      {"id": 2, "internal-prefix": "fd02::/64", "external-prefix": "2001:db8:2::/64"}])  # fmt: skip
    out = nat.out(udp("fd01:203:405:1::1234", 5, FAR[6], 6))
    assert ends(out) == ("2001:db8:1:d550::1234", 5, FAR[6], 6)
    assert out is not None
    assert is_right(out)
    assert ends(nat.back(udp(FAR[6], 6, "2001:db8:1:d550::1234", 5))) == (FAR[6], 6, "fd01:203:405:1::1234", 5)
    long = nat.out(tcp("fd02::ffff:1:2:3", 5, FAR[6], 6))
    assert long is not None
    assert is_right(long)
    assert str(IPv6Address(long[IPv6].src)).startswith("2001:db8:2:0:ffff:")
    assert ends(nat.back(tcp(FAR[6], 6, long[IPv6].src, 5))) == (FAR[6], 6, "fd02::ffff:1:2:3", 5)
    assert nat.out(udp("fd01:203:405:ffff::1", 5, FAR[6], 6)) is None
    assert nat.out(udp("fd02::", 5, FAR[6], 6)) is None
    assert nat.refusals() == {NO_PREFIX: 2}
    assert nat.sessions() == []
    quoted = bytes(out.payload)[:48]
    back = nat.back(ETH / IPv6(src=FAR[6], dst="2001:db8:1:d550::1234") / ICMPv6DestUnreach(code=4) / Raw(quoted))
    assert back is not None
    assert is_right(back)
    assert back[IPv6].dst == "fd01:203:405:1::1234"
    assert bytes(back)[14 + 40 + 8 + 8 :][:16] == IPv6Address("fd01:203:405:1::1234").packed


def test_a_pool_gives_each_host_one_address_and_its_range_of_ports(made: Make) -> None:
    nat = made(snat=[{"id": 4, "internal-net": "10.0.0.0/16", "external-ip": "192.0.2.16", "last-external-ip": "192.0.2.19",
                      "port-range": "5000-5999"}])  # fmt: skip
    seen: dict[str, set[str]] = {}
    for host in range(1, 40):
        for port in (80, 5500, 60000):
            source, outside, *_ = ends(nat.out(udp(f"10.0.0.{host}", port, FAR[4], 53))) or ("", 0)
            assert 5000 <= outside <= 5999
            seen.setdefault(f"10.0.0.{host}", set()).add(source)
    assert all(len(found) == 1 for found in seen.values())
    assert set.union(*seen.values()) == {f"192.0.2.{n}" for n in range(16, 20)}
    assert {(each["originating-rule"], each["rule-id"]) for each in nat.sessions()} == {("snat", 4)}


def test_when_all_ports_are_taken_the_next_flow_is_refused_and_counted(made: Make) -> None:
    nat = made(snat=[{"id": 1, "internal-net": "10.0.0.0/8", "external-ip": "192.0.2.1", "port-range": "5000-5003"}])
    ports = [(ends(nat.out(udp(f"10.0.0.{host}", 9, FAR[4], 53))) or ("", 0))[1] for host in range(1, 9)]
    given = [port for port in ports if port]
    assert len(given) == len(set(given)) == 4  # 36 tries find the last of four but once in 30,000
    assert nat.refusals() == {NO_PORT: 4}
    assert ends(nat.out(udp("10.0.0.9", 9, FAR[4], 54))) is not None  # another far end has them all anew


def test_a_full_table_refuses_what_is_new_counts_it_and_keeps_what_is_there(made: Make) -> None:
    nat = made(masquerade=MASQUERADE, sessions=64)
    found = [nat.out(udp(IN[4], 2000 + n, FAR[4], 53)) for n in range(120)]
    passed = [n for n, packet in enumerate(found) if packet is not None]
    assert 64 <= len(passed) <= 80  # a quarter more fit
    assert nat.refusals() == {FULL: 120 - len(passed)}
    assert len(nat.sessions()) == len(passed)
    for n in passed:
        assert ends(nat.out(udp(IN[4], 2000 + n, FAR[4], 53))) == (OUT[4], 2000 + n, FAR[4], 53)
    assert nat.out(udp(IN[4], 1999, FAR[4], 53)) is None or len(passed) < 80


def test_the_dead_make_room_for_the_living(made: Make) -> None:
    nat = made(masquerade=MASQUERADE, sessions=64, timeouts={"udp": 3})
    for _ in range(2):
        began = time.monotonic()
        for n in range(200):
            nat.out(udp(IN[4], 2000 + n, FAR[4], 53))
        late = nat.out(udp(IN[4], 2999, FAR[4], 53))
        assert late is None or time.monotonic() - began > 2.9  # on a machine so slow the first ones are over
        time.sleep(3.1)
        assert nat.back(udp(FAR[4], 53, OUT[4], 2000)) is not None
        assert ends(nat.back(udp(FAR[4], 53, OUT[4], 2000))) == (FAR[4], 53, OUT[4], 2000)  # its time is over
        assert [ends(nat.out(udp(IN[4], 3000 + n, FAR[4], 53))) for n in range(32)] == [(OUT[4], 3000 + n, FAR[4], 53) for n in range(32)]
        time.sleep(3.1)


def eta(nat: Machine) -> int:
    (session,) = nat.sessions()
    return int(session["eta"])


def test_a_connection_is_open_once_both_have_agreed_and_closed_once_both_have_or_one_resets(made: Make) -> None:
    nat = made(masquerade=MASQUERADE)
    there, back = (IN[4], 4000, FAR[4], 80), (FAR[4], 80, OUT[4], 4000)
    steps: list[tuple[bool, str, bool]] = [  # from inside, flags, open afterwards
        (True, "S", False), (False, "SA", False), (True, "A", True), (True, "R", False), (False, "A", True), (True, "FA", True),
        (False, "A", True), (False, "FA", False), (True, "A", False), (True, "S", False), (False, "SA", False), (True, "A", True),
        (False, "R", False),
    ]  # fmt: skip
    for inside, flags, is_open in steps:
        assert (nat.out(tcp(*there, flags)) if inside else nat.back(tcp(*back, flags))) is not None
        assert (eta(nat) > 300) == is_open, (inside, flags, eta(nat))


def test_a_table_that_is_made_larger_keeps_its_sessions(made: Make) -> None:
    nat = made(masquerade=MASQUERADE, sessions=200)
    for n in range(50):
        nat.out(udp(IN[4], 2000 + n, FAR[4], 53))
    before = {(each["internal-sport"], each["external-port"]) for each in nat.sessions()}
    assert len(before) == 50
    nat.set(sessions=5000)
    nat.apply()
    assert {(each["internal-sport"], each["external-port"]) for each in nat.sessions()} == before
    assert ends(nat.back(udp(FAR[4], 53, OUT[4], 2000))) == (FAR[4], 53, IN[4], 2000)
    assert (nat.drift(), nat.plan().plan.steps) == ([], ())


def test_sessions_end_with_their_rule_and_with_its_content_and_others_stay(made: Make) -> None:
    first = {"id": 1, "internal-net": "10.0.0.1/32", "external-ip": "192.0.2.1"}
    nat = made(snat=[first, {"id": 2, "internal-net": "10.0.0.2/32", "external-ip": "192.0.2.2"}])
    for host in (IN, OTHER):
        assert nat.out(udp(host[4], 4000, FAR[4], 53)) is not None
    nat.set(snat=[first])
    nat.apply()
    assert [each["rule-id"] for each in nat.sessions()] == [1]
    nat.set(snat=[first | {"external-ip": "192.0.2.3"}])
    nat.apply()
    assert nat.sessions() == []
    assert ends(nat.back(udp(FAR[4], 53, "192.0.2.1", 4000))) == (FAR[4], 53, "192.0.2.1", 4000)
    assert ends(nat.out(udp(IN[4], 4000, FAR[4], 53))) == ("192.0.2.3", 4000, FAR[4], 53)


def alike() -> list[dict[str, Any]]:
    """Two rules of different contents, whose numbers have the same lowest bits."""
    found: dict[int, dict[str, Any]] = {}
    for n in itertools.count(2):
        outside = str(ip_address("192.0.2.0") + n)
        inside = IPv4Network(("10.0.0.1", 32)) if n % 2 else IPv4Network(("10.0.0.2", 32))
        rule = {"id": 1 + n % 2, "internal-net": str(inside), "external-ip": outside}
        number = Source(SNAT, 1 + n % 2, inside, ip_address(outside), ip_address(outside), 1024, 65535).number
        other = found.setdefault(number % MARKS, rule)
        if other["id"] != rule["id"]:
            return [other, rule]
    raise AssertionError


def test_of_two_rules_that_share_a_mark_each_has_sessions_until_it_goes(made: Make) -> None:
    """One is marked, and the other found by the longer way."""
    rules = alike()
    nat = made(snat=rules)
    assert len(nat.table("nat1", "rules")) == 2
    marked = nat.table("nat1", "rule_marks")
    assert sum(any(mark) for mark in marked.values()) == 1
    for kept in rules:
        nat.set(snat=rules)
        nat.apply()
        for rule in rules:
            near = str(rule["internal-net"]).removesuffix("/32")
            nat.out(udp(near, 4000, FAR[4], 53))
            assert ends(nat.back(udp(FAR[4], 53, rule["external-ip"], 4000))) == (FAR[4], 53, near, 4000)
        nat.set(snat=[kept])
        nat.apply()
        for rule in rules:
            near = str(rule["internal-net"]).removesuffix("/32") if rule == kept else rule["external-ip"]
            assert ends(nat.back(udp(FAR[4], 53, rule["external-ip"], 4000))) == (FAR[4], 53, near, 4000)
        assert nat.drift() == []
