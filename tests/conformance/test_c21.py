"""C21: a TCP connection from its beginning to its end, from either side; and the modes, changed while all runs."""
from __future__ import annotations

import pytest

from tests.lib.lab import Counts, counts
from tests.services.firewall.frames import MACS, ipv4
from tests.services.firewall.lab import HOOKS, HOST, STACK, FirewallLab

pytestmark = pytest.mark.kernel

INVALID = {"conntrack": "INVALID", "action": "DROP"}
GOES_ON = {"l4proto": "TCP", "conntrack": "ESTABLISHED"}
BEGINS = {"l4proto": "TCP", "conntrack": "NEW"}


@pytest.fixture(params=HOOKS)
def hook(request):
    return request.param


def test_only_the_side_that_may_begin_can_connect_and_both_can_close(hook):
    with FirewallLab(hook=hook, accept_established="OFF") as lab:
        lab.chain("EGRESS", GOES_ON, INVALID)
        lab.chain("INGRESS", BEGINS, GOES_ON, INVALID)
        lab.apply()
        assert lab.tcp("h1", None, STACK, 60123)
        assert not lab.tcp(None, "h1", HOST, 60124)
        states = {session["state"] for session in lab.sessions()}
        assert states <= {"TIME_WAIT", "LAST_ACK"}
        lab.chain("EGRESS", BEGINS, GOES_ON, INVALID)
        lab.chain("INGRESS", GOES_ON, INVALID)
        lab.apply()
        assert lab.tcp(None, "h1", HOST, 60125)
        assert not lab.tcp("h1", None, STACK, 60126)


def test_modes_are_changed_live_and_nothing_is_loaded(hook):
    with FirewallLab(hook=hook, conntrack="OFF") as lab:
        lab.both({"l4proto": "ICMP"})
        lab.apply()
        assert lab.in_ok()

        def go_over(**settings):
            lab.firewall |= {name.replace("_", "-"): value for name, value in settings.items()}
            done = counts(lab.apply())
            assert done == Counts(map_writes=done.map_writes)

        lab.chain("INGRESS", {"l4proto": "ICMP", "conntrack": "NEW", "action": "DROP"})
        lab.chain("EGRESS", {"l4proto": "ICMP", "conntrack": "NEW"})
        go_over(conntrack="ON")
        assert lab.in_fails()
        assert lab.out_ok()

        go_over(accept_established="OFF")
        assert lab.out_fails()
        for chain in ("INGRESS", "EGRESS"):
            lab.rules(chain).append({"id": 1, "l4proto": "ICMP", "conntrack": "ESTABLISHED"})
        go_over()
        assert lab.in_fails()
        assert lab.out_ok()


def test_tcp_that_belongs_to_nothing_is_invalid(hook):
    """As in Polycube, if it may not be picked up; else it is NEW."""
    with FirewallLab(hook=hook, pick_up="OFF") as lab:
        lab.chain("INGRESS", INVALID, default="ACCEPT")
        lab.apply()
        segment = bytes.fromhex("c350 0050 00000001 00000001 5010 0400 0000 0000")
        frame = MACS + b"\x08\x00" + ipv4(6, 0x0A000001, 0x0A000002, segment, None)
        lab.send("h1", frame)
        assert lab.stats("INGRESS") == {"0": (1, 54)}
        lab.firewall["pick-up"] = "ON"
        lab.chain("INGRESS", INVALID, BEGINS | {"action": "DROP"}, default="ACCEPT")
        lab.apply()
        lab.send("h1", frame)
        assert [lab.stats("INGRESS").get(rule, (0, 0))[0] for rule in ("0", "1")] == [1, 1]
