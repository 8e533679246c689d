"""The real programs against the reference model: verdicts, counters and connections of random packets under random rules.

`python -m benchmarks.firewall_fuzz` does the same a thousand times longer. A difference becomes a test of its own below.
"""
from __future__ import annotations

import random

import pytest

from tests.conformance.firewall_lab import FirewallLab
from tests.firewall_fuzz import differences
from tests.firewall_machine import Machine

SETS, PACKETS = 100, 1000


@pytest.fixture(params=["TC", "XDP_DRV"])
def machine(request):
    with FirewallLab(hook=request.param) as lab:
        lab.firewall["loglevel"] = "OFF"
        lab.both(default="REJECT")  # so that the program that answers is there
        lab.apply()
        with Machine(lab, "fw") as machine:
            yield machine


def test_random_packets_meet_the_fate_that_the_model_says(machine):
    rng = random.Random(20)
    for number in range(SETS):
        size = rng.choice([1, 2, 5, 20, 60, 200] if number % 20 else [1000])
        assert differences(machine, rng.random(), size, PACKETS) == [], (number, size)


def test_the_comparison_notices_a_rule_that_is_missing(machine):
    """A comparison that cannot fail proves nothing: here a row is taken out behind the firewall's back."""
    found = []
    for seed in range(20):
        found += differences(machine, seed, 5, 300, damage=True)
    assert found
