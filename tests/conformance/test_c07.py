"""C07: thirteen hosts on three bridges in a row; VLAN 10 is everywhere, 30 and 40 on one link each, the others on one bridge."""
from __future__ import annotations

import pytest

from tests.services.bridge.lab import vlan_lab, wrong

pytestmark = pytest.mark.kernel

BRIDGES = {
    "br1": {"h1": 10, "h2": 20, "h3": 20, "h4": 30, "l11": ([10, 30], "link11")},
    "br2": {"h5": 10, "h6": 30, "h7": 40, "h8": 50, "h9": 50, "l12": ([10, 30], "link12"), "l21": ([10, 40], "link21")},
    "br3": {"h10": 10, "h11": 40, "h12": 60, "h13": 60, "l22": ([10, 40], "link22")},
}
TOGETHER = [{"h1", "h5", "h10"}, {"h2", "h3"}, {"h4", "h6"}, {"h7", "h11"}, {"h8", "h9"}, {"h12", "h13"}]


@pytest.mark.parametrize("hook", ["TC", "XDP_DRV"])
def test_every_host_reaches_those_of_its_vlan_wherever_they_are_and_no_others(hook):
    with vlan_lab(BRIDGES, links=2, hook=hook) as lab:
        lab.apply()
        assert wrong(lab, TOGETHER, [f"h{number}" for number in range(1, 14)]) == []
