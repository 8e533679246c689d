"""packetcapture: each command of Polycube's own test has its place in the model, and its document is accepted as it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.lib.lab import Lab
from tests.services.packetcapture.lab import capturing, tcpdump

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


def test_the_traffic_between_two_ports_of_a_switch_is_in_the_dump(tmp_path: Path) -> None:
    """Polycube's own test: a capture at one of the ports, one ping, and the dump is there."""
    cube = {"name": "packetcapture_service", "service-name": "packetcapture", "capture": "bidirectional", "dump": str(tmp_path / "dump")}
    ports = [{"name": "toveth1", "peer": "v1", "tcubes": [cube["name"]]}, {"name": "toveth2", "peer": "v2"}]
    spec = {"hosts": {"h1": "10.0.0.1/24", "h2": "10.0.0.2/24"},
            "cubes": [{"name": "br1", "service-name": "simplebridge", "ports": ports}, cube]}  # fmt: skip
    with Lab(json.dumps(spec)) as lab:
        lab.apply()
        assert lab.ok("h1", "10.0.0.2", 1)
        with capturing(lab, "packetcapture_service", "-c", "2") as child:
            assert child.wait(30) == 0
        del ports[0]["tcubes"]
        lab.spec["cubes"] = [{"name": "br1", "service-name": "simplebridge", "ports": ports}]
        lab.apply()
        assert lab.ok("h1", "10.0.0.2", 1)
    assert len(tcpdump(tmp_path / "dump")) == 2
