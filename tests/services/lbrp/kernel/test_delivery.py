"""`delivery: PEER`: clients get their packets behind the far end of their veth, and nothing else is different."""
from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from reconciler.errors import DocumentError
from tests.services.lbrp.lab import LbLab

pytestmark = pytest.mark.kernel


@pytest.fixture
def lab() -> Iterator[LbLab]:
    with LbLab() as lab:
        cube = lab.cube("lb")
        cube["port_mode"], cube["delivery"] = "MULTI", "PEER"
        cube["ports"][0]["ip"] = "192.0.2.1"
        yield lab


def sent_by_near_end(lab: LbLab) -> int:
    """Packets that went out of the netdev of the client's port."""
    said = subprocess.run(["ip", "-j", "-s", "link", "show", lab.port("lb", "front")["peer"]], check=True, capture_output=True, text=True)
    return int(json.loads(said.stdout)[0]["stats64"]["tx"]["packets"])


def test_a_client_gets_its_packets_past_the_near_end_of_its_veth(lab: LbLab) -> None:
    lab.apply()
    assert lab.live_cube("lb")["delivery"] == "PEER"
    assert lab.ok("h1", "192.0.2.254")
    before = sent_by_near_end(lab)
    assert lab.ok("h1", "192.0.2.254", 5)
    assert lab.ok("h2", "192.0.2.1", 5)
    assert sent_by_near_end(lab) == before
    assert lab.drift() == []


def test_it_can_be_taken_back(lab: LbLab) -> None:
    lab.apply()
    del lab.cube("lb")["delivery"]
    lab.apply()
    before = sent_by_near_end(lab)
    assert lab.ok("h1", "192.0.2.254", 5)
    assert sent_by_near_end(lab) >= before + 5


def test_a_transparent_cube_of_the_port_sees_them(lab: LbLab) -> None:
    lab.spec["cubes"].append({"name": "fw", "service-name": "firewall", "chain": [{"name": "INGRESS", "default": "ACCEPT"}, {"name": "EGRESS", "default": "ACCEPT"}]})
    lab.port("lb", "front")["tcubes"] = ["fw"]
    lab.apply()
    before = sent_by_near_end(lab)
    assert lab.ok("h1", "192.0.2.254", 5)
    assert sent_by_near_end(lab) >= before + 5, "by the netdev, behind the firewall"


def test_it_is_for_tc_and_many_clients() -> None:
    with LbLab(hook="XDP_DRV") as lab:
        lab.cube("lb")["port_mode"], lab.cube("lb")["delivery"] = "MULTI", "PEER"
        lab.cube("lb")["ports"][0]["ip"] = "192.0.2.1"
        with pytest.raises(DocumentError, match="the cube's type has to be TC"):
            lab.apply()
