"""C17: counters count, and stay with their rule whatever happens around it."""
from __future__ import annotations

import pytest

from tests.lib import packets
from tests.services.firewall.lab import HOOKS, STACK, FirewallLab

pytestmark = pytest.mark.kernel

PING = {"src": "10.0.0.1", "dst": "10.0.0.2", "l4proto": "ICMP"}
PONG = {"src": "10.0.0.2", "dst": "10.0.0.1", "l4proto": "ICMP"}
OTHER = {"src": "10.9.9.9", "action": "DROP"}
TWO_PINGS = (2, 196)  # 56 bytes of data make frames of 98


@pytest.fixture(params=HOOKS)
def lab(request):
    with FirewallLab(hook=request.param, conntrack="OFF") as lab:
        lab.chain("INGRESS", PING)
        lab.chain("EGRESS", PONG)
        lab.apply()
        yield lab


def ping(lab) -> int:
    return packets.ping(lab.space("h1"), STACK, 2, size=56, timeout=0.3)


def reset(lab) -> None:
    assert lab.pcn("action", "fw", "reset-counters") == 0


def test_a_rule_counts_packets_and_bytes_and_so_does_the_default(lab):
    assert ping(lab) == 2
    assert lab.stats("INGRESS") == {"0": TWO_PINGS}
    assert lab.stats("EGRESS") == {"0": TWO_PINGS}
    lab.chain("INGRESS")
    lab.apply()
    assert ping(lab) == 0
    assert lab.stats("INGRESS") == {"default": TWO_PINGS}


def test_counters_can_be_set_to_zero(lab):
    ping(lab)
    reset(lab)
    assert lab.stats("INGRESS") == lab.stats("EGRESS") == {}
    assert not lab.drift()
    ping(lab)
    assert lab.stats("INGRESS") == {"0": TWO_PINGS}


def test_a_rule_keeps_its_counters_when_others_come_and_go_and_it_is_renumbered(lab):
    ping(lab)
    lab.chain("INGRESS", OTHER, PING, {**OTHER, "src": "10.8.8.8"})
    lab.apply()
    assert lab.stats("INGRESS") == {"1": TWO_PINGS}
    ping(lab)
    lab.chain("INGRESS", {**OTHER, "src": "10.7.7.7"}, OTHER, PING, step=10)
    lab.apply()
    assert lab.stats("INGRESS") == {"20": (4, 392)}


def test_a_rule_with_a_name_keeps_its_counters_when_its_content_changes(lab):
    lab.chain("INGRESS", {"name": "echo", **PING})
    lab.apply()
    ping(lab)
    lab.chain("INGRESS", {"name": "echo", **PING, "src": "10.0.0.0/24"})
    lab.apply()
    ping(lab)
    assert lab.stats("INGRESS") == {"0": (4, 392)}


def test_the_same_rule_in_the_other_chain_counts_for_itself(lab):
    lab.both({"l4proto": "ICMP"})
    lab.apply()
    assert lab.ok("h1", STACK, 1)
    assert lab.out_ok()
    assert lab.stats("INGRESS")["0"][0] == lab.stats("EGRESS")["0"][0] == 3
