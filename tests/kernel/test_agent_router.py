"""The agent with a cube that needs it: a router, whose slow path asks for neighbours and answers with ICMP errors."""
from __future__ import annotations

import time
from pathlib import Path

import pytest

from reconciler.kernel import linkwrite, netns
from tests import packets
from tests.agentlab import Bench
from tests.conformance.router_lab import RouterLab

ROUTED = """
hosts:
  h1: {addresses: [10.0.1.1/24], routes: [{to: default, via: 10.0.1.254}]}
  h2: {addresses: [10.0.2.1/24], routes: [{to: default, via: 10.0.2.254}]}
cubes:
  - name: r1
    service-name: router
    ports: [{name: a, peer: v1, ip: 10.0.1.254/24}, {name: b, peer: v2, ip: 10.0.2.254/24}]
"""


@pytest.fixture
def bench(tmp_path):
    with RouterLab(ROUTED) as lab:
        bench = Bench(lab, tmp_path)
        bench.save()
        lab.apply()
        yield bench


def forgets(bench: Bench) -> None:
    """The router knows no neighbour any more."""
    bench.lab.flush("r1", "neighbours")


def answered_at_once(bench: Bench) -> bool:
    """Whether not even the packet is lost for which the router has to ask; without a slow path it is."""
    forgets(bench)
    return packets.ping(bench.lab.space("h1"), "10.0.2.1", 1, timeout=0.9) == 1


def test_slow_paths_work_and_outlive_a_killed_agent_in_the_next_one(bench):
    with bench.agent() as agent:
        assert packets.ping(bench.lab.space("h1"), "10.0.2.1", 3, interval=0.5) > 0
        assert answered_at_once(bench)
        assert agent.status()["slow_path"]["cubes"]["r1"]["handled"] > 0
        agent.kill()
    assert packets.ping(bench.lab.space("h1"), "10.0.2.1", 3) == 3  # what is known is forwarded by the kernel
    with bench.agent() as agent:
        assert agent.status()["done"] == {"program_loads": 0, "map_writes": 0, "link_changes": 0}
        time.sleep(0.2)
        assert answered_at_once(bench)
        assert agent.status()["slow_path"]["cubes"]["r1"]["handled"] > 0


@pytest.mark.parametrize("side", ["near", "far"])
def test_a_new_mac_on_a_peer_of_the_router_is_no_trouble_for_longer_than_a_second(bench, side):
    """`far` is the host's own end; a host that says so (arp_notify) is heard."""
    mac = "02:00:00:00:00:77"
    with bench.agent():
        assert packets.ping(bench.lab.space("h1"), "10.0.2.1", 2) == 2
        if side == "near":
            linkwrite.set_link("v2", mac=mac)
        else:
            with netns.inside(bench.lab.space("h2")):
                Path("/proc/sys/net/ipv4/conf/eth0/arp_notify").write_text("1")
            linkwrite.set_link("eth0", bench.lab.space("h2"), mac=mac)
        changed = time.monotonic()
        while not packets.ping(bench.lab.space("h1"), "10.0.2.1", 1, timeout=0.05):
            assert time.monotonic() < changed + 5
        assert time.monotonic() - changed < 1.0
