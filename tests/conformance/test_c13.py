"""C13: of two paths the cheaper, and the other one once its address is gone; seen in the rows that packets are sent by."""
from __future__ import annotations

import pytest

from tests.lib.lab import Counts, counts
from tests.services.router.lab import RouterLab

pytestmark = pytest.mark.kernel

HOSTS = {f"h{i}": f"10.0.{i}.1" for i in range(1, 6)}
SCENARIO = """
hosts:
""" + "".join(
    f"  h{i}: {{addresses: [10.0.{i}.1/24], routes: [{{to: default, via: 10.0.{i}.254}}]}}\n" for i in range(1, 6)
) + """
cubes:
  - name: br1
    service-name: simplebridge
    ports: [{name: p1, peer: v1}, {name: p2, peer: v2}, {name: to_r1, peer: "r1:to_br1"}]
  - name: br2
    service-name: simplebridge
    ports: [{name: p3, peer: v3}, {name: p4, peer: v4}, {name: p5, peer: v5}, {name: to_r2, peer: "r2:to_br2"}]
  - name: r1
    service-name: router
    ports:
      - {name: to_br1, peer: "br1:to_r1", ip: 10.0.1.254/24, secondaryip: [{ip: 10.0.2.254/24}]}
      - {name: to_r2, peer: "r2:to_r1", ip: 10.1.0.1/30, secondaryip: [{ip: 10.10.0.1/30}]}
    route:
      - {network: 10.0.3.0/24, nexthop: 10.1.0.2, pathcost: 5}
      - {network: 10.0.4.0/24, nexthop: 10.1.0.2, pathcost: 5}
      - {network: 10.0.5.0/24, nexthop: 10.1.0.2, pathcost: 5}
      - {network: 10.0.3.0/24, nexthop: 10.10.0.2, pathcost: 2}
  - name: r2
    service-name: router
    ports:
      - {name: to_r1, peer: "r1:to_r2", ip: 10.1.0.2/30, secondaryip: [{ip: 10.10.0.2/30}]}
      - {name: to_br2, peer: "br2:to_r2", ip: 10.0.3.254/24, secondaryip: [{ip: 10.0.4.254/24}, {ip: 10.0.5.254/24}]}
    route:
      - {network: 10.0.1.0/24, nexthop: 10.1.0.1, pathcost: 5}
      - {network: 10.0.2.0/24, nexthop: 10.1.0.1, pathcost: 5}
"""  # fmt: skip


@pytest.fixture(params=[("TC", 4), ("TC", 6), ("XDP_DRV", 4), ("XDP_DRV", 6)], ids=lambda param: f"{param[0]}-IPv{param[1]}")
def lab(request):
    hook, family = request.param
    with RouterLab(SCENARIO, hook=hook, family=family) as lab:
        lab.apply()
        yield lab


def way(lab, network):
    return lab.fib("r1").get(lab.said(network))


def test_when_an_address_goes_the_next_best_path_takes_over_whole(lab):
    lab.cycle(HOSTS)
    for host in HOSTS:
        lab.reach(host, "10.10.0.1")
        lab.reach(host, "10.10.0.2")
    assert way(lab, "10.0.3.0/24") == ("remote", "to_r2", lab.said("10.10.0.2"))
    assert way(lab, "10.10.0.0/30") == ("connected", "to_r2", lab.said("10.10.0.1"))

    lab.port("r1", "to_r2")["secondaryip"] = []
    done = lab.apply()
    assert counts(done).program_loads == 0
    assert not lab.drift()
    assert way(lab, "10.0.3.0/24") == ("remote", "to_r2", lab.said("10.1.0.2"))
    assert way(lab, "10.10.0.0/30") is None
    assert not [row for row in lab.fib("r1").values() if row[2] in (lab.said("10.10.0.1"), lab.said("10.10.0.2"))]
    assert [warning.message for warning in done.warnings if "is not used" in warning.message]
    lab.cycle(HOSTS)
    for host in HOSTS:
        lab.lacks(host, "10.10.0.1")


def test_the_unused_route_is_kept_and_shown_and_comes_back_with_the_address(lab):
    address = lab.port("r1", "to_r2").pop("secondaryip")
    lab.apply()
    shown = {(route["network"], route["nexthop"]): route for route in lab.live_cube("r1", state=True)["route"]}
    assert shown[lab.said("10.0.3.0/24"), lab.said("10.10.0.2")]["active"] is False
    assert shown[lab.said("10.0.3.0/24"), lab.said("10.1.0.2")]["active"] is True
    lab.port("r1", "to_r2")["secondaryip"] = address
    lab.apply()
    assert way(lab, "10.0.3.0/24") == ("remote", "to_r2", lab.said("10.10.0.2"))


def test_a_worse_path_that_is_added_changes_no_row_that_packets_are_sent_by(lab):
    before = lab.fib("r1")
    lab.cube("r1")["route"].append({"network": lab.said("10.0.4.0/24"), "nexthop": lab.said("10.10.0.2"), "pathcost": 9})
    assert counts(lab.apply()) == Counts(map_writes=1)
    assert lab.fib("r1") == before


def test_a_deleted_route_leaves_nothing_behind_and_a_row_that_is_changed_by_hand_is_drift(lab):
    lab.cube("r1")["route"] = [route for route in lab.cube("r1")["route"] if route["network"] != lab.said("10.0.4.0/24")]
    lab.apply()
    assert way(lab, "10.0.4.0/24") is None
    lab.cube("r1")["route"] = []
    lab.apply()
    assert "remote" not in {kind for kind, *_ in lab.fib("r1").values()}
    lab.flush("r1", f"fib{lab.family}_root", zero=True)
    assert lab.fib("r1") == {}
    assert lab.drift()
    lab.apply()
    assert not lab.drift()
    lab.reach("h1", "10.1.0.1")
