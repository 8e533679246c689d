"""C06: two bridges joined by a trunk carry two VLANs, over a veth and cube to cube."""
from __future__ import annotations

import pytest

from tests.lib.lab import HOOKS, Counts, counts
from tests.services.bridge.lab import vlan_lab, wrong

pytestmark = pytest.mark.kernel

HOSTS = ["h1", "h2", "h3", "h4"]


@pytest.mark.parametrize("joined", ["veth", "cube"])
@pytest.mark.parametrize("hook", HOOKS)
def test_a_trunk_carries_the_vlans_that_it_allows(hook, joined):
    here, there = ("link11", "link12") if joined == "veth" else ("br2:t", "br1:t")
    bridges = {"br1": {"h1": 10, "h2": 20, "t": ([10, 20], here)}, "br2": {"h3": 10, "h4": 20, "t": ([10, 20], there)}}
    with vlan_lab(bridges, links=joined == "veth", hook=hook) as lab:
        lab.apply()
        assert wrong(lab, [{"h1", "h3"}, {"h2", "h4"}], HOSTS) == []
        lab.port("br1", "t")["trunk"]["allowed"].pop()
        assert counts(lab.apply()) == Counts(map_writes=1)
        assert wrong(lab, [{"h1", "h3"}], HOSTS) == []
