"""The agent with a cube that needs it: a router, whose slow path asks for neighbours and answers with ICMP errors."""
from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from reconciler.kernel import linkwrite, maps, netns, rtnl
from reconciler.kernel.bpffs import Bpffs
from tests.lib import packets
from tests.lib.agent_process import Bench, Stream
from tests.services.router.lab import RouterLab

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


def traffic(bench: Bench) -> Stream:
    return Stream(bench.lab.space("h1"), bench.lab.space("h2"), "10.0.2.1")


def answered_at_once(bench: Bench) -> bool:
    """Whether not even the packet is lost for which the router has to ask; without a slow path it is."""
    forgets(bench)
    return packets.ping(bench.lab.space("h1"), "10.0.2.1", 1, timeout=0.9) == 1


def test_slow_paths_work_and_outlive_a_killed_agent_in_the_next_one(bench):
    with bench.agent() as agent:
        assert packets.ping(bench.lab.space("h1"), "10.0.2.1", 3, interval=0.5) > 0
        assert answered_at_once(bench)
        assert agent.status()["slow_path"]["cubes"]["r1"]["handled"] > 0
        with traffic(bench) as stream:
            time.sleep(0.2)
            agent.kill()
            time.sleep(0.3)
            with bench.agent() as again:
                assert again.status()["done"] == {"program_loads": 0, "map_writes": 0, "link_changes": 0}
                time.sleep(0.2)
                stream.close()
                assert stream.lost() == 0  # what is known is forwarded by the kernel
                assert len(stream.arrived) > 300
                assert answered_at_once(bench)
                assert again.status()["slow_path"]["cubes"]["r1"]["handled"] > 0


def a_route(lab: RouterLab) -> None:
    with Bpffs(lab.root).opened("cubes/r1/tables/fib4_ways") as fd:
        maps.update(fd, next(key for key, row in maps.rows(fd, maps.info(fd).spec).items() if any(row)), bytes(24))


KINDS = {
    "a derived row": a_route,
    "the way back from the slow path": lambda _: linkwrite.delete_link(min(name for name in rtnl.links() if name.startswith("pcn"))),
    "the ring to the slow path": lambda lab: os.unlink(f"{lab.root}/cubes/r1/slowpath"),
}


@pytest.mark.serial
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_router_has_and_a_bridge_has_not_is_healed_within_a_second_too_and_its_neighbours_stay(bench, kind):
    with bench.agent() as agent, traffic(bench) as stream:
        known = bench.lab.neighbours("r1")
        assert len(known) == 2
        KINDS[kind](bench.lab)
        assert agent.until(lambda said: said["drift"]["healed"] > 0 and not said["drift"]["now"]) < 1.0
        assert bench.lab.neighbours("r1") == known
        stream.close()
        assert not bench.lab.drift()
        assert answered_at_once(bench)


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
