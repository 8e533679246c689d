"""C16: the life of a rule, as a document tells it: written, taken out, put elsewhere, renumbered. Nothing is ever loaded."""
from __future__ import annotations

import pytest

from reconciler.errors import DocumentError
from tests.lib.lab import Counts, counts
from tests.services.firewall.lab import HOOKS, FirewallLab

pytestmark = pytest.mark.kernel

PING = {"src": "10.0.0.1", "dst": "10.0.0.2", "l4proto": "ICMP"}
PONG = {"src": "10.0.0.2", "dst": "10.0.0.1", "l4proto": "ICMP"}
NEAR = {"src": "10.0.0.0/24"}
DROP = {"l4proto": "ICMP", "action": "DROP"}


@pytest.fixture(params=HOOKS)
def lab(request):
    with FirewallLab(hook=request.param, conntrack="OFF") as lab:
        lab.chain("INGRESS", PING)
        lab.chain("EGRESS", PONG)
        lab.apply()
        yield lab


def test_rules_come_and_go_in_any_place(lab):
    def egress(*rules, passes):
        lab.chain("EGRESS", *rules)
        done = counts(lab.apply())
        assert done == Counts(map_writes=done.map_writes)
        assert done.map_writes <= 16
        assert lab.in_ok() if passes else lab.in_fails()
        assert not lab.plan().plan.steps

    assert lab.in_ok()
    egress(passes=False)
    egress(PONG, NEAR, passes=True)
    egress(PONG, passes=True)
    egress(passes=False)
    egress({**PONG, "src": "20.0.0.2"}, passes=False)
    egress(PONG, passes=True)
    egress(DROP, PONG, passes=False)
    egress(PONG, passes=True)
    egress(PONG, DROP, passes=True)
    assert not lab.drift()


def test_what_is_shown_is_what_was_written(lab):
    written = [
        {"id": 3, "src": "10.0.0.0/24", "dst": "10.0.0.2/32", "l4proto": "TCP", "sport": "1024-65535", "dport": 80, "tcpflags": "!FIN,SYN",
         "conntrack": "NEW", "action": "DROP", "description": "why not", "name": "web"},
        {"id": 10, "src": "2001:db8::/32", "l4proto": "ICMPV6", "limit": 5},
        {"id": 11, "l4proto": 89, "action": "LOG"},
        {"id": 12, "in-interface": "v1", "l4proto": "SCTP", "dport": "0-65535"},
    ]  # fmt: skip
    lab.firewall["conntrack"] = "ON"
    lab.firewall["chain"][0] = {"name": "INGRESS", "default": "DROP", "rule": written}
    lab.apply()
    shown = next(chain for chain in lab.live_cube("fw")["chain"] if chain["name"] == "INGRESS")
    assert shown["rule"] == [
        {key: rule[key] for key in ("id", "name", "src", "dst", "l4proto", "sport", "dport", "tcpflags", "conntrack", "in-interface",
                                    "limit", "action", "description") if key in rule}
        for rule in written
    ]  # fmt: skip


def test_an_id_decides_about_the_order_and_not_the_place_in_the_file(lab):
    lab.firewall["chain"][0]["rule"] = [{"id": 20, **PING}, {"id": 10, **DROP}]
    lab.apply()
    assert lab.in_fails()
    lab.firewall["chain"][0]["rule"][1]["id"] = 30
    lab.apply()
    assert lab.in_ok()


def test_ids_that_cannot_be_are_refused_and_nothing_changes(lab):
    for ids in ((0, 0), (0, -1)):
        lab.firewall["chain"][0]["rule"] = [{"id": number, **DROP} for number in ids]
        with pytest.raises(DocumentError):
            lab.apply()
    assert lab.in_ok()
    assert not lab.drift()
