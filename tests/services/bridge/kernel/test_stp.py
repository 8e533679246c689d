"""Spanning trees with real packets: three bridges in a triangle, without a storm before, while and after anybody runs."""
from __future__ import annotations

import pytest

from reconciler.kernel import linkwrite
from tests.lib.lab import Lab
from tests.lib.traffic import Census, amiss, send_numbered
from tests.services.bridge.lab import address
from tests.services.bridge.stp_lab import blocked, running, states, stp_lab, until

pytestmark = pytest.mark.kernel

TRIANGLE = {
    "br1": {"11": "link11", "32": "link32", "h1": 1},
    "br2": {"12": "link12", "21": "link21", "h2": 1},
    "br3": {"22": "link22", "31": "link31", "h3": 1},
}
PRIORITIES = {"br1": 24576, "br2": 28672, "br3": 32768}
HOSTS = ("h1", "h2", "h3")


def triangle(hook: str, *, rapid: bool = True) -> Lab:
    return stp_lab(TRIANGLE, PRIORITIES, links=3, hook=hook, rapid=rapid)


def each_broadcast_arrives_once(lab: Lab) -> None:
    with Census(lab, HOSTS) as census:
        streams = {host: send_numbered(lab, host) for host in HOSTS}
    wrong = {f"{sender} to {host}": said for sender, (stream, count) in streams.items() for host in HOSTS
             if (said := amiss(census.copies(host, stream), range(count) if host != sender else ()))}
    assert wrong == {}


def test_a_link_that_loses_its_carrier_is_gone_round_in_less_than_three_seconds_and_no_frame_comes_twice():
    with triangle("TC") as lab, running(lab) as served:
        until(lambda: blocked(lab), {"br3:22"}, 15)
        assert lab.ok("h1", address("h3"))
        with Census(lab, HOSTS) as census:
            linkwrite.set_link("link31", None, up=False)
            served.look()
            assert until(lambda: blocked(lab), set(), 10) < 3
            stream, count = send_numbered(lab, "h1")
        assert amiss(census.copies("h3", stream), range(count)) == ""
        assert states(lab)["br3:31"] == states(lab)["br1:32"] == "disabled"
        assert all(entry["port"] != "31" for entry in lab.live_cube("br3", state=True)["fdb"]["entry"])
        assert lab.ok("h1", address("h3"))
        linkwrite.set_link("link31", None, up=True)
        until(lambda: (served.look(), blocked(lab))[1], {"br3:22"}, 15)
        each_broadcast_arrives_once(lab)


def test_a_bpdu_at_a_guarded_port_shuts_it_until_its_configuration_changes():
    from cubes.bridge.bpdu import RST, Bpdu, Times, Vector, frame

    with triangle("TC") as lab:
        lab.port("br1", "h1")["bpdu-guard"] = True
        with running(lab) as served:
            until(lambda: states(lab).get("br1:h1"), "forwarding", 10)
            own = Vector(1, 0, 1, 1)
            lab.send("h1", frame(Bpdu(RST, own, Times(0, 20, 2, 15), flags=0x3C), bytes.fromhex("020000000099"), 1, tagged=False))
            until(lambda: states(lab)["br1:h1"], "disabled", 5)
            assert lab.fails("h1", address("h2"))
            assert any("bpdu-guard" in said[3] for said in served.said if said[0] == "log")
            until(lambda: blocked(lab), {"br3:22"}, 15)
            lab.port("br1", "h1")["bpdu-guard"] = False
            lab.apply()
            served.look()
            until(lambda: states(lab)["br1:h1"], "forwarding", 10)
