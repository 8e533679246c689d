"""C18: many rules, and the one that matters in any place among them."""
from __future__ import annotations

import time

import pytest

from tests.lib.lab import Counts, counts
from tests.services.firewall.lab import STACK, FirewallLab

pytestmark = pytest.mark.kernel

ICMP = {"l4proto": "ICMP"}


def dummy(number: int) -> dict:
    """A rule of the scenario: a source of 31 bits, both ports its number, and a flag."""
    return {"src": f"10.1.{number >> 7 & 255}.{2 * number & 254}/31", "l4proto": "TCP", "sport": number % 65536,
            "dport": number % 65536, "tcpflags": "SYN"}  # fmt: skip


def other(number: int) -> dict:
    return {"dst": f"10.{number % 250}.0.0/16", "l4proto": "TCP", "sport": number, "dport": number, "tcpflags": "!ACK"}


@pytest.fixture
def lab():
    with FirewallLab(conntrack="ON", accept_established="OFF") as lab:
        yield lab


def test_the_matching_rule_is_found_at_every_place(lab):
    rules = [dummy(number) for number in range(130)]
    lab.both(*rules)
    lab.apply()
    assert lab.in_fails()
    for place in (0, 1, 62, 63, 64, 125, 126, 127, 128, 129):
        lab.both(*rules[:place], ICMP, *rules[place:])
        done = counts(lab.apply())
        assert lab.in_ok(), place
        assert done == Counts(map_writes=done.map_writes)
        assert done.map_writes < 40, place


def test_four_thousand_rules_around_the_one_that_accepts(lab):
    rules = [*map(dummy, range(3500)), {}, *map(other, range(3501, 4001))]
    lab.both(*rules)
    lab.apply()
    assert lab.in_ok()
    assert lab.out_ok()


def test_seven_thousand_rules_and_a_connection(lab):
    rules = [*map(dummy, range(6999)), {"l4proto": "TCP"}]
    lab.both(*rules)
    begun = time.monotonic()
    lab.apply()
    assert time.monotonic() - begun < 20
    assert lab.tcp("h1", None, STACK, 60123)
    lab.both(*rules[:3000], {"src": "10.0.0.1", "action": "DROP"}, *rules[3000:])
    begun = time.monotonic()
    assert counts(lab.apply()).map_writes < 30
    assert time.monotonic() - begun < 10
    assert not lab.tcp("h1", None, STACK, 60124)
