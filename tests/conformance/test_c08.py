"""C08: the states of a triangle of bridges with spanning trees, and what becomes of them when a link is taken away."""
from __future__ import annotations

import itertools

import pytest

from tests.lib.traffic import Census, send_numbered
from tests.services.bridge.kernel.test_stp import HOSTS, each_broadcast_arrives_once, triangle
from tests.services.bridge.lab import address
from tests.services.bridge.stp_lab import blocked, running, states, until

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize("hook", ["TC", "XDP_DRV"])
def test_a_triangle_with_the_rapid_protocol(hook):
    """And what was cleared stays so while nobody runs; what was not, too."""
    with triangle(hook) as lab:
        lab.apply()
        with Census(lab, HOSTS) as census:
            stream, _ = send_numbered(lab, "h1")
        assert all(not census.copies(host, stream) for host in HOSTS), "a port forwards that nobody cleared"
        assert lab.drops("br1").get("10") == 20  # blocked
        with running(lab):
            until(lambda: blocked(lab), {"br3:22"}, 15)
            each_broadcast_arrives_once(lab)
        each_broadcast_arrives_once(lab)
        before = states(lab)
        with running(lab) as served:  # the next worker goes on from there
            assert states(lab) == before
            each_broadcast_arrives_once(lab)
            for cube, port in (("br1", "32"), ("br3", "31")):
                lab.cube(cube)["ports"] = [each for each in lab.cube(cube)["ports"] if each["name"] != port]
            lab.apply()
            served.look()
            assert until(lambda: blocked(lab), set(), 10) < 3
            for a, b in itertools.permutations(HOSTS, 2):
                assert lab.ok(a, address(b))
        assert lab.drift() == []


@pytest.mark.exhaustive
def test_a_triangle_with_the_older_protocol_in_its_own_time():
    with triangle("TC", rapid=False) as lab, running(lab) as served:
        assert until(lambda: blocked(lab), {"br3:22"}, 20) > 7
        each_broadcast_arrives_once(lab)
        for cube, port in (("br1", "32"), ("br3", "31")):
            lab.cube(cube)["ports"] = [each for each in lab.cube(cube)["ports"] if each["name"] != port]
        lab.apply()
        served.look()
        until(lambda: blocked(lab), set(), 30)
        assert all(lab.ok(a, address(b)) for a, b in itertools.permutations(HOSTS, 2))
