"""The packet helpers of the tests themselves: if they lie, every other kernel test does."""
from __future__ import annotations

import os
import struct

import pytest

from reconciler.kernel import linkwrite, netlink, netns
from reconciler.model import LinkEnd
from tests.lib.netns_topology import (
    NetnsTopology,
    icmp_answer,
    ping,
    run_in,
    send_frames,
    settle,
    sniff,
    tcp_exchange,
    udp_exchange,
)

pytestmark = pytest.mark.kernel


@pytest.fixture
def world():
    with NetnsTopology() as world:
        yield world


@pytest.fixture
def routed(world):
    """h1 - this namespace's stand-in, a router - h2."""
    router = world.namespace("r")
    ends = []
    for name, address, gateway in (("h1", "10.0.1.1/24", "10.0.1.254"), ("h2", "10.0.2.1/24", "10.0.2.254")):
        host = world.host(name, address, gateway=gateway)
        run_in(None, ["ip", "link", "set", host.port, "netns", router])
        linkwrite.set_link(host.port, router, up=True)
        linkwrite.add_address(host.port, router, f"{gateway}/24")
        settle((host.port, router), (host.device, host.netns))
        ends.append(host)
    run_in(router, ["sysctl", "-qw", "net.ipv4.ip_forward=1"])
    return (*ends, router)


def test_packets_cross_a_router_and_are_answered(routed):
    h1, h2, _ = routed
    assert ping(h1.netns, h2.ip, 3) == 3
    assert ping(h1.netns, h2.ip, 2, size=1400) == 2


def test_a_short_ttl_is_answered_by_the_router_and_is_no_reply(routed):
    h1, h2, _ = routed
    assert ping(h1.netns, h2.ip, 1, ttl=1, timeout=0.3) == 0
    assert ping(h1.netns, h2.ip, 1, ttl=2) == 1
    assert icmp_answer(h1.netns, h2.ip, ttl=1) == (11, 0, "10.0.1.254")
    assert icmp_answer(h1.netns, h2.ip) == (0, 0, h2.ip)
    assert icmp_answer(h1.netns, "10.0.9.1") == (3, 0, "10.0.1.254")


def test_udp_tells_what_arrived_from_whom_and_what_came_back(routed):
    h1, h2, _ = routed
    exchange = udp_exchange(h1.netns, h2.netns, h2.ip, 53, payload=b"hello", source_port=4444)
    assert exchange is not None
    assert (exchange.received, exchange.source, exchange.reply) == (b"hello", (h1.ip, 4444), b"hello")
    assert udp_exchange(h1.netns, h2.netns, h2.ip, 53, server_port=54, timeout=0.2) is None


def test_tcp_carries_more_than_a_buffer_both_ways(routed):
    h1, h2, _ = routed
    payload = bytes(range(256)) * 20_000
    exchange = tcp_exchange(h1.netns, h2.netns, h2.ip, 80, payload=payload, timeout=5)
    assert exchange is not None
    assert exchange.received == exchange.reply == payload
    assert exchange.source[0] == h1.ip
    assert tcp_exchange(h1.netns, h2.netns, h2.ip, 80, server_port=81, timeout=0.2) is None


def test_frames_are_seen_where_they_arrive_with_their_vlan_tags(world):
    h1 = world.host("h1", "10.0.0.1/24")
    plain = bytes.fromhex("02000000000202000000000188b5") + b"plain".ljust(46, b".")
    tagged = plain[:12] + struct.pack("!HH", 0x8100, 0x6005) + plain[12:]
    with sniff(None, h1.port) as seen, sniff(h1.netns, "eth0") as own, sniff(h1.netns, "eth0", outgoing=True) as sent:
        assert send_frames(h1.netns, "eth0", [plain, tagged, plain]) == 3
        assert seen.next(1.0, lambda frame: frame[12:14] == b"\x81\x00") == tagged
        assert seen.all(0.1) == [plain]
        assert own.all(0.1) == []
        assert sent.all(0.1) == [plain, tagged, plain]


def test_a_world_is_silent_without_ipv6_and_speaks_it_if_asked():
    with NetnsTopology() as quiet:
        h1 = quiet.host("h1", "10.0.0.1/24")
        with sniff(None, h1.port) as seen:
            assert seen.all(0.5) == []
    with NetnsTopology(ipv6=True) as world:
        h1, h2 = world.namespace("h1"), world.namespace("h2")
        world.wire("eth0", "eth0", h2, near_netns=h1)
        netlink.configure(LinkEnd("eth0", h1, ("fd00::1/64",)))
        netlink.configure(LinkEnd("eth0", h2, ("fd00::2/64",)))
        settle(("eth0", h1), ("eth0", h2))
        assert ping(h1, "fd00::2", 2) == 2
        assert icmp_answer(h1, "fd00::2") == (129, 0, "fd00::2")
        exchange = udp_exchange(h1, h2, "fd00::2", 53)
        assert exchange is not None
        assert exchange.reply == b"question"


def test_a_process_in_a_namespace_ends_with_its_world():
    with NetnsTopology() as world:
        space = world.namespace("a")
        process = world.spawn(space, ["sleep", "60"])
        assert os.stat(f"/proc/{process.pid}/ns/net").st_ino == os.stat(netns.RUN_DIR / space).st_ino
    assert process.poll() is not None
