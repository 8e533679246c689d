"""C15: the first rule that matches decides, however much longer another one's prefix is."""
from __future__ import annotations

import pytest

from tests.lib.lab import HOOKS, Counts, counts
from tests.services.firewall.lab import FirewallLab

pytestmark = pytest.mark.kernel

DROP_ALL = {"src": "10.0.0.0/8", "action": "DROP"}
ACCEPT_EACH = [{"src": "10.0.0.1", "action": "ACCEPT"}, {"src": "10.0.0.2", "action": "ACCEPT"}]


@pytest.fixture(params=HOOKS)
def lab(request):
    with FirewallLab(hook=request.param, conntrack="OFF") as lab:
        yield lab


def test_the_first_rule_wins_over_the_longest_prefix_and_the_order_can_be_changed(lab):
    lab.both(DROP_ALL, *ACCEPT_EACH)
    lab.apply()
    assert lab.in_fails()
    assert lab.out_fails()
    lab.both(*ACCEPT_EACH, DROP_ALL)
    done = counts(lab.apply())
    assert done == Counts(map_writes=done.map_writes)
    assert lab.in_ok()
    assert lab.out_ok()
    assert not lab.plan().plan.steps
    assert not lab.drift()
