"""C09: a spanning tree for each VLAN, each with its own root, on three bridges that are joined cube to cube."""
from __future__ import annotations

import pytest

from tests.services.bridge.lab import vlan_lab, wrong
from tests.services.bridge.stp_lab import running, states, until

pytestmark = pytest.mark.kernel

NAMES, HOSTS = ("b1", "b2", "b3"), ["h1", "h2", "h3"]
PRIORITIES = {"b1": (10, 1), "b2": (100, 10), "b3": (1, 100)}  # VLAN 14, VLAN 10
ACCESS = {"b1": 14, "b2": 14, "b3": 10}


def blocked(lab):
    return {port for port, state in states(lab).items() if state not in ("forwarding", "disabled") and ":tob" in port}


@pytest.mark.parametrize("hook", ["TC", "XDP_DRV"])
def test_each_vlan_has_its_own_tree(hook):
    bridges = {name: {f"tob{other[1]}": ([14, 10], f"{other}:tob{name[1]}") for other in NAMES if other != name} for name in NAMES}
    for name in NAMES:
        bridges[name][f"h{name[1]}"] = ACCESS[name]
    with vlan_lab(bridges, hook=hook) as lab:
        for name in NAMES:
            lab.port(name, f"h{name[1]}")["edge-port"] = True
            trees = [{"vlan": vlan, "priority": value} for vlan, value in zip((14, 10), PRIORITIES[name], strict=True)]
            lab.cube(name).update({"stp-enabled": True, "stp-version": "rstp", "stp": trees})
        with running(lab) as served:
            until(lambda: blocked(lab), {"b2:tob1@14", "b3:tob2@10"}, 15)
            assert wrong(lab, [{"h1", "h2"}], HOSTS) == []
            lab.port("b1", "h1")["access"]["vlanid"] = 1
            lab.port("b2", "h2")["access"]["vlanid"] = 10
            lab.apply()
            served.look()
            until(lambda: states(lab).get("b2:h2@10"), "forwarding", 15)
            until(lambda: blocked(lab), {"b2:tob1@14", "b3:tob2@10"}, 15)
            assert wrong(lab, [{"h2", "h3"}], HOSTS) == []
        assert lab.drift() == []
