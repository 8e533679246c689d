"""Polycube's router/test_shadow 1 to 4: a router with a network namespace, in which Linux tools are run."""
from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.lib import packets
from tests.lib.lab import Lab

pytestmark = pytest.mark.kernel

ONE = """
cubes:
  - {name: r1, service-name: router, shadow: true, ports: [{name: p1, ip: 10.0.0.1/24}]}
"""
TWO = """
cubes:
  - {name: r1, service-name: router, shadow: true, ports: [{name: p1, ip: 10.0.0.1/24, peer: "r2:p1"}]}
  - {name: r2, service-name: router, ports: [{name: p1, ip: 10.0.0.2/24, peer: "r1:p1"}]}
"""
THREE = """
hosts:
  h1: {addresses: [10.0.1.1/24], routes: [{to: default, via: 10.0.1.254}]}
  h2: {addresses: [10.0.2.1/24], routes: [{to: default, via: 10.0.2.254}]}
  h3: {addresses: [10.0.3.1/24], routes: [{to: default, via: 10.0.3.254}]}
cubes:
  - name: r1
    service-name: router
    shadow: true
    ports:
      - {name: p1, ip: 10.0.1.254/24, peer: v1}
      - {name: p2, ip: 10.0.2.254/24, peer: v2}
      - {name: p3, ip: 10.0.3.254/24, peer: v3}
"""


def inside(*words: str) -> str:
    """What a tool says in the namespace of r1."""
    return subprocess.run(["ip", "netns", "exec", "pcn-r1", *words], check=True, capture_output=True, text=True).stdout


def is_ipv4(frame: bytes) -> bool:
    return frame[12:14] == b"\x08\x00"


def port_of(lab: Lab) -> dict[str, object]:
    """Port p1 of r1 as it is, once what is in the namespace was imported; it is no drift before, and none after."""
    assert lab.drift() == []
    lab.apply()
    assert lab.drift() == []
    assert not lab.plan().plan.steps
    return {leaf: value for leaf, value in lab.live_cube("r1")["ports"][0].items() if leaf != "name"}


@pytest.fixture
def one() -> Iterator[Lab]:
    with Lab(ONE) as lab:
        lab.apply()
        yield lab


def test_1_an_address_and_a_route_that_linux_sets_are_the_routers(one: Lab) -> None:
    assert "10.0.0.1/24" in inside("ip", "-br", "address", "show", "dev", "p1")
    inside("ip", "address", "replace", "10.0.0.2/24", "dev", "p1")
    inside("ip", "address", "delete", "10.0.0.1/24", "dev", "p1")
    inside("ip", "address", "replace", "10.0.0.2/24", "dev", "p1")
    assert port_of(one) == {"ip": "10.0.0.2/24"}
    inside("ip", "route", "add", "30.0.0.0/24", "dev", "p1")
    port_of(one)
    assert one.live_cube("r1")["route"] == [{"network": "30.0.0.0/24", "nexthop": "0.0.0.0", "interface": "p1"}]


def test_2_another_router_answers_who_pings_from_inside() -> None:
    with Lab(TWO) as lab:
        lab.apply()
        assert packets.ping("pcn-r1", "10.0.0.2", 3) == 3


def test_3_hosts_reach_each_other_with_and_without_span_which_shows_their_packets_inside() -> None:
    with Lab(THREE) as lab:
        lab.apply()
        every = [(f"h{a}", f"10.0.{b}.1") for a in (1, 2, 3) for b in (1, 2, 3) if a != b]
        for host, address in every:
            lab.ok(host, address)  # the first packets ask for MACs
        assert all(lab.ok(host, address) for host, address in every)
        with packets.sniff("pcn-r1", "p1") as quiet:
            assert lab.ok("h1", "10.0.2.1")
            assert quiet.all(0.2, is_ipv4) == []
        lab.cube("r1")["span"] = True
        lab.apply()
        assert lab.live_cube("r1")["span"] is True
        with packets.sniff("pcn-r1", "p1") as seen:
            assert all(lab.ok(host, address) for host, address in every)
            icmp = [frame[34] for frame in seen.all(0.3, is_ipv4)]
        assert (icmp.count(8), icmp.count(0)) == (8, 8)  # 2 each way, to and from two others
        assert lab.drift() == []


def test_4_what_linux_takes_away_is_gone_from_the_router(one: Lab) -> None:
    assert port_of(one) == {"ip": "10.0.0.1/24"}
    inside("ip", "address", "flush", "dev", "p1")
    inside("ip", "address", "add", "192.168.0.1/24", "dev", "p1")
    assert port_of(one) == {"ip": "192.168.0.1/24"}
    inside("ip", "route", "add", "30.0.0.0/24", "dev", "p1")
    port_of(one)
    assert [entry["network"] for entry in one.live_cube("r1")["route"]] == ["30.0.0.0/24"]
    inside("ip", "route", "delete", "30.0.0.0/24", "dev", "p1")
    port_of(one)
    assert "route" not in one.live_cube("r1")
