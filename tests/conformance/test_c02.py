"""C02: pairwise forwarding. Four hosts, a row of a table for each port, and no way but what the rows say."""
from __future__ import annotations

import pytest

from tests.lib.lab import HOOKS, Counts, Lab, counts

pytestmark = pytest.mark.kernel

SCENARIO = """
hosts: {h1: 10.0.0.1/24, h2: 10.0.0.2/24, h3: 10.0.0.3/24, h4: 10.0.0.4/24}
cubes:
  - name: fwd
    service-name: simpleforwarder
    ports: [{name: p1, peer: v1}, {name: p2, peer: v2}, {name: p3, peer: v3}, {name: p4, peer: v4}]
    actions:
      - {inport: p1, action: FORWARD, outport: p2}
      - {inport: p2, action: FORWARD, outport: p1}
      - {inport: p3, action: FORWARD, outport: p4}
      - {inport: p4, action: FORWARD, outport: p3}
"""


@pytest.fixture(params=HOOKS)
def lab(request):
    with Lab(SCENARIO, hook=request.param) as lab:
        lab.apply()
        yield lab


def test_hosts_reach_those_they_are_paired_with_and_no_others(lab):
    assert lab.ok("h1", "10.0.0.2")
    assert lab.ok("h4", "10.0.0.3")
    assert lab.fails("h1", "10.0.0.3")
    assert lab.fails("h4", "10.0.0.2")


def test_a_port_without_an_action_drops_and_takes_one_map_write(lab):
    assert lab.ok("h1", "10.0.0.2")
    actions = lab.cube("fwd")["actions"]
    lab.cube("fwd")["actions"] = [entry for entry in actions if entry["inport"] != "p1"]
    assert counts(lab.apply()) == Counts(map_writes=1)
    assert not lab.drops("fwd")
    assert lab.fails("h1", "10.0.0.2")
    assert lab.drops("fwd").keys() == {"POLICY"}
    assert lab.ok("h4", "10.0.0.3")
    assert [entry["inport"] for entry in lab.live_cube("fwd")["actions"]] == ["p2", "p3", "p4"]
    lab.cube("fwd")["actions"] = actions
    assert counts(lab.apply()) == Counts(map_writes=1)
    assert lab.ok("h1", "10.0.0.2")


def test_rewiring_all_four_is_four_map_writes_and_nothing_else(lab):
    other = {"p1": "p3", "p3": "p1", "p2": "p4", "p4": "p2"}
    for entry in lab.cube("fwd")["actions"]:
        entry["outport"] = other[entry["inport"]]
    assert counts(lab.apply()) == Counts(map_writes=4)
    assert lab.ok("h1", "10.0.0.3")
    assert lab.ok("h4", "10.0.0.2")
    assert lab.fails("h1", "10.0.0.2")
