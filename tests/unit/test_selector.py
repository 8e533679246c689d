"""Selectors of netdevs."""
from __future__ import annotations

import pytest

from reconciler.facts.selector import selected

NETDEVS = {"lo": "loopback", "eth0": "", "eth1": "", "eth0.100": "vlan", "docker0": "bridge", "veth[1]": "veth", "v1": "veth",
           "pcn01234567n": "veth", "all": ""}  # fmt: skip


@pytest.mark.parametrize(("selector", "names"), [
    ("all", "all docker0 eth0 eth0.100 eth1 v1 veth[1]"),
    ("eth0", "eth0"),
    ("eth?", "eth0 eth1"),
    ("eth*", "eth0 eth0.100 eth1"),
    ("kind:physical !all", ""),
    ("kind:physical", "all eth0 eth1"),
    ("kind:veth kind:bridge", "docker0 v1 veth[1]"),
    ("!kind:veth !eth1", "all docker0 eth0 eth0.100"),
    ("veth[1]", "veth[1]"),
    ("veth*", "veth[1]"),
    ("*", "all docker0 eth0 eth0.100 eth1 v1 veth[1]"),
    ("kind:loopback lo", ""),
    ("pcn*", ""),
])  # fmt: skip
def test_words_and_what_they_match(selector: str, names: str) -> None:
    assert list(selected(selector, NETDEVS)) == names.split()
