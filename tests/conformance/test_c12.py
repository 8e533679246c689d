"""C12: three routers in a ring, with routes between them; the time to live ends where it should, and says where."""
from __future__ import annotations

import pytest

from tests.lib.netns_topology import run_in
from tests.services.router.lab import ECHO_REPLY, TIME_EXCEEDED, RouterLab

pytestmark = pytest.mark.kernel

HOSTS = {"h1": "10.0.1.1", "h2": "10.0.2.1", "h3": "10.0.3.1"}
SCENARIO = """
hosts:
  h1: {addresses: [10.0.1.1/24], routes: [{to: default, via: 10.0.1.254}]}
  h2: {addresses: [10.0.2.1/24], routes: [{to: default, via: 10.0.2.254}]}
  h3: {addresses: [10.0.3.1/24], routes: [{to: default, via: 10.0.3.254}]}
cubes:
  - name: r1
    service-name: router
    ports:
      - {name: to_veth1, peer: v1, ip: 10.0.1.254/24}
      - {name: to_r2, peer: "r2:to_r1", ip: 10.10.10.10/24, secondaryip: [{ip: 10.1.0.1/30}]}
      - {name: to_r3, peer: "r3:to_r1", ip: 10.2.0.1/30}
    route: [{network: 0.0.0.0/0, nexthop: 10.1.0.2}]
  - name: r2
    service-name: router
    ports:
      - {name: to_r1, peer: "r1:to_r2", ip: 10.10.20.10/24, secondaryip: [{ip: 10.1.0.2/30}]}
      - {name: to_veth2, peer: v2, ip: 12.10.1.1/24, secondaryip: [{ip: 10.0.2.254/24}]}
      - {name: to_r3, peer: "r3:to_r2", ip: 10.3.0.1/30}
    route:
      - {network: 10.0.1.0/24, nexthop: 10.1.0.1}
      - {network: 10.0.3.0/24, nexthop: 10.3.0.2}
  - name: r3
    service-name: router
    ports:
      - {name: to_r1, peer: "r1:to_r3", ip: 10.2.0.2/30}
      - {name: to_r2, peer: "r2:to_r3", ip: 10.3.0.2/30}
      - {name: to_veth3, peer: v3, ip: 10.0.3.254/24}
    route:
      - {network: 10.0.1.0/24, nexthop: 10.2.0.1}
      - {network: 10.0.2.0/24, nexthop: 10.3.0.1}
      - {network: 10.10.10.10/32, nexthop: 10.2.0.1}
      - {network: 10.10.20.10/32, nexthop: 10.3.0.1}
"""


@pytest.fixture(params=[("TC", 4), ("TC", 6), ("XDP_DRV", 4), ("XDP_DRV", 6)], ids=lambda param: f"{param[0]}-IPv{param[1]}")
def lab(request):
    hook, family = request.param
    with RouterLab(SCENARIO, hook=hook, family=family) as lab:
        lab.apply()
        yield lab


def test_hosts_reach_each_other_and_the_routers_on_the_way(lab):
    lab.reach("h3", "10.10.10.10")
    lab.reach("h3", "10.10.20.10")
    lab.cycle(HOSTS)


def test_a_packet_whose_time_is_up_is_told_so_by_the_port_that_it_came_in_by(lab):
    assert lab.answer("h1", "10.0.2.1", ttl=1) == (*TIME_EXCEEDED[lab.family], lab.said("10.0.1.254"))


def test_the_hops_are_where_the_time_ends(lab):
    lab.cycle(HOSTS)
    assert lab.trace("h2", "10.0.3.1") == [lab.said(hop) for hop in ("12.10.1.1", "10.3.0.2", "10.0.3.1")]
    assert lab.trace("h1", "10.0.3.1") == [lab.said(hop) for hop in ("10.0.1.254", "10.10.20.10", "10.3.0.2", "10.0.3.1")]
    assert lab.answer("h1", "10.0.3.1", ttl=4) == (*ECHO_REPLY[lab.family], lab.said("10.0.3.1"))


def test_a_traceroute_through_three_routers_names_every_hop(lab):
    """The program, not our own: with UDP, with ICMP and with TCP. Only a destination knows the difference."""
    lab.cycle(HOSTS)
    ways = (["--icmp"], ["--tcp", "--port=9"], [])
    for way in ways:
        command = ["traceroute", f"-{lab.family}", "-n", "-q1", "-w2", "--max-hops=8", *way, lab.said("10.0.3.1")]
        said = run_in(lab.space("h1"), command).splitlines()[1:]
        assert [line.split()[1] for line in said] == [lab.said(hop) for hop in ("10.0.1.254", "10.10.20.10", "10.3.0.2", "10.0.3.1")]
