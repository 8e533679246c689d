"""Firewalls that share a set and a group of rules, under traffic: an entry that changes is one row in each."""
from __future__ import annotations

from typing import Any

import pytest

from tests.lib.lab import HOOKS, Lab, counts
from tests.services.firewall.lab import HOST, STACK

TEXT = """
hosts:
  h1: {addresses: [10.0.0.1/24], mac: "02:00:00:00:00:01", here: {addresses: [10.0.0.2/24], mac: "02:00:00:00:00:02"}}
cubes:
  - {name: outer, service-name: firewall, conntrack: "OFF", set: [{name: friends, prefix: {shared: friends}}]}
  - {name: inner, service-name: firewall, conntrack: "OFF", set: [{name: friends, prefix: [192.0.2.1, {shared: friends}]}]}
attachments: [{netdev: v1, tcubes: [outer, inner]}]
"""


@pytest.mark.parametrize("hook", HOOKS)
def test_an_entry_of_a_shared_set_is_one_row_in_each_firewall_and_decides_in_both(hook: str) -> None:
    with Lab(TEXT, hook=hook) as lab:
        friends: dict[str, Any] = {"name": "friends", "entries": ["192.0.2.7", "2001:db8::/32"]}
        lab.spec["shared"] = [friends, {"name": "known", "entries": [{"l4proto": "ICMP"}, {"l4proto": "UDP"}]}]
        for name in ("outer", "inner"):
            lab.cube(name)["chain"] = [{"name": "INGRESS", "default": "DROP", "rule": [{"id": 10, "shared": "known", "src-set": "friends"}, {"id": 99, "l4proto": 2}]}]
        lab.apply()
        assert lab.fails("h1", STACK)
        friends["entries"].append(HOST)
        assert counts(lab.apply()).map_writes == 2
        assert lab.ok("h1", STACK)
        for name in ("outer", "inner"):
            (chain,) = (chain for chain in lab.live_cube(name, state=True)["chain"] if chain["name"] == "INGRESS")
            assert [(rule["id"], rule.get("src-set"), rule["l4proto"]) for rule in chain["rule"]] == [(10, "friends", "ICMP"), (11, "friends", "UDP"), (99, None, 2)]
            assert {each["id"]: each["pkts"] for each in chain["stats"]}["10"] > 0
        friends["entries"].remove(HOST)
        lab.apply()
        assert lab.fails("h1", STACK)
        assert not lab.apply().plan.steps
