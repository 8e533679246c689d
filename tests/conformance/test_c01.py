"""C01: the smallest switch. Two hosts, one action for all packets, and a change of it is one map write."""
from __future__ import annotations

import pytest

from tests.lib.lab import HOOKS, Counts, Lab, counts

pytestmark = pytest.mark.kernel

SCENARIO = """
hosts: {h1: 10.0.0.1/24, h2: 10.0.0.2/24}
cubes:
  - name: hw1
    service-name: helloworld
    action: FORWARD
    ports: [{name: p1, peer: v1}, {name: p2, peer: v2}]
"""


@pytest.fixture(params=HOOKS)
def lab(request):
    with Lab(SCENARIO, hook=request.param) as lab:
        lab.apply()
        yield lab


def test_forward_joins_the_hosts_and_slowpath_and_drop_part_them(lab):
    assert lab.ok("h1", "10.0.0.2")
    assert lab.ok("h2", "10.0.0.1")
    for action in ("SLOWPATH", "DROP"):
        lab.cube("hw1")["action"] = action
        lab.apply()
        assert lab.fails("h1", "10.0.0.2")
        assert lab.fails("h2", "10.0.0.1")
    lab.cube("hw1")["action"] = "FORWARD"
    lab.apply()
    assert lab.ok("h1", "10.0.0.2")
    assert lab.ok("h2", "10.0.0.1")


def test_each_change_of_the_action_is_one_map_write(lab):
    for action in ("SLOWPATH", "DROP", "FORWARD"):
        lab.cube("hw1")["action"] = action
        assert counts(lab.plan()) == Counts(map_writes=1)
        assert counts(lab.apply()) == Counts(map_writes=1)
        assert lab.live_cube("hw1").get("action", "DROP") == action
        assert not lab.plan().plan.steps
