"""C14: two routers in one subnet. A route to where a port is already is not used; the port is."""
from __future__ import annotations

import pytest

from tests.services.router.lab import RouterLab

pytestmark = pytest.mark.kernel

HOSTS = {"h1": "10.0.1.1", "h2": "10.0.1.2", "h3": "10.0.2.1", "h4": "10.0.2.2"}
SCENARIO = """
hosts:
  h1: {addresses: [10.0.1.1/24], routes: [{to: default, via: 10.0.1.254}]}
  h2: {addresses: [10.0.1.2/24], routes: [{to: default, via: 10.0.1.254}]}
  h3: {addresses: [10.0.2.1/24], routes: [{to: default, via: 10.0.2.254}]}
  h4: {addresses: [10.0.2.2/24], routes: [{to: default, via: 10.0.2.254}]}
cubes:
  - name: br1
    service-name: simplebridge
    ports: [{name: p1, peer: v1}, {name: p2, peer: v2}, {name: to_r1, peer: "r1:to_br1"}, {name: to_r2, peer: "r2:to_br1"}]
  - name: br2
    service-name: simplebridge
    ports: [{name: p3, peer: v3}, {name: p4, peer: v4}, {name: to_r2, peer: "r2:to_br2"}]
  - name: r1
    service-name: router
    ports: [{name: to_br1, peer: "br1:to_r1", ip: 10.0.1.254/24}]
    route: [{network: 10.0.2.0/24, nexthop: 10.0.1.253}]
  - name: r2
    service-name: router
    ports:
      - {name: to_br1, peer: "br1:to_r2", ip: 10.0.1.253/24}
      - {name: to_br2, peer: "br2:to_r2", ip: 10.0.2.254/24}
    route: [{network: 10.0.1.0/24, nexthop: 10.0.1.254}]
"""


@pytest.fixture(params=[("TC", 4), ("TC", 6), ("XDP_DRV", 4), ("XDP_DRV", 6)], ids=lambda param: f"{param[0]}-IPv{param[1]}")
def lab(request):
    hook, family = request.param
    with RouterLab(SCENARIO, hook=hook, family=family) as lab:
        lab.apply()
        yield lab


def test_all_twelve_ordered_pairs_of_hosts_reach_each_other_and_the_connected_subnet_wins(lab):
    lab.cycle(HOSTS)
    assert lab.fib("r2")[lab.said("10.0.1.0/24")] == ("connected", "to_br1", lab.said("10.0.1.253"))
    assert [route["active"] for route in lab.live_cube("r2", state=True)["route"]] == [False]
    assert [route["active"] for route in lab.live_cube("r1", state=True)["route"]] == [True]
