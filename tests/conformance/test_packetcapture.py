"""packetcapture: each command of Polycube's own test has its place in the model, and its document is accepted as it is."""

from __future__ import annotations

import pytest

from tests.lib.lab import Lab

pytestmark = pytest.mark.kernel

# A document of Polycube's, with all that its model has to be configured; enumerations in whatever case
POLYCUBE = """
hosts: {h1: {addresses: [10.0.0.1/24], here: {addresses: [10.0.0.2/24]}}}
cubes:
  - {name: mon1, service-name: packetcapture, capture: bidirectional, anonimize: false, networkmode: true, snaplen: 65535,
     dump: /tmp/mon1.pcap, filter: "icmp and host 10.0.0.1"}
attachments: [{netdev: v1, tcubes: [mon1]}]
"""

DEFAULTS = {"capture": "OFF", "networkmode": False}


@pytest.mark.parametrize("hook", ["TC", "XDP_DRV"])
def test_a_cube_at_a_netdev_is_configured_leaf_by_leaf_and_packets_go_on(hook: str) -> None:
    with Lab(POLYCUBE, hook=hook) as lab:
        lab.apply()
        for leaf, value in (("capture", "INGRESS"), ("capture", "EGRESS"), ("capture", "OFF"), ("capture", "BIDIRECTIONAL"),
                            ("snaplen", 100), ("networkmode", False), ("anonimize", True), ("filter", "tcp or icmp")):  # fmt: skip
            lab.cube("mon1")[leaf] = value
            lab.apply()
            assert lab.live_cube("mon1").get(leaf, DEFAULTS.get(leaf)) == value
            assert lab.ok(None, "10.0.0.1", 1)
        lab.cube("mon1")["capture"] = "OFF"
        lab.apply()
        before = lab.live_cube("mon1", state=True)["stats"]["captured"]
        assert lab.ok(None, "10.0.0.1", 1)
        assert lab.live_cube("mon1", state=True)["stats"]["captured"] == before > 0
        lab.spec["attachments"], lab.spec["cubes"] = [], []
        lab.apply()
        assert lab.ok(None, "10.0.0.1", 1)
