"""C05: VLANs on access ports keep hosts apart."""
from __future__ import annotations

import pytest

from tests.lib.lab import HOOKS, Counts, counts
from tests.services.bridge.lab import vlan_lab, wrong

pytestmark = pytest.mark.kernel

HOSTS = ["h1", "h2", "h3", "h4"]


@pytest.mark.parametrize("hook", HOOKS)
def test_hosts_of_one_vlan_reach_each_other_and_none_of_another(hook):
    with vlan_lab({"br1": {"h1": 10, "h2": 10, "h3": 20, "h4": 20}}, hook=hook) as lab:
        lab.apply()
        assert wrong(lab, [{"h1", "h2"}, {"h3", "h4"}], HOSTS) == []
        lab.port("br1", "h2")["access"]["vlanid"] = 20
        assert counts(lab.apply()) == Counts(map_writes=3)  # the port, and both VLANs
        assert wrong(lab, [{"h2", "h3", "h4"}], HOSTS) == []
        assert lab.drift() == []
