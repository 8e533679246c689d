"""Links that go down and come back: a router takes the other way meanwhile, and what was learned behind them goes."""
from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.kernel import linkwrite, netns
from tests.lib.agent_process import OWNED, Bench
from tests.lib.lab import Lab
from tests.lib.netns_topology import run_in

TWO_WAYS = """
cubes:
  - name: r1
    service-name: router
    ports:
      - {name: p1, peer: x1, ip: 10.0.1.254/24}
      - {name: p2, peer: x2, ip: 10.0.2.254/24}
    route:
      - {network: 10.9.0.0/16, nexthop: 10.0.1.1}
      - {network: 10.9.0.0/16, nexthop: 10.0.2.1, pathcost: 5}
"""


@pytest.fixture
def lab() -> Iterator[Lab]:
    """With netdevs that nobody heals: x1 and x2, and their other ends y1 and y2."""
    with Lab(TWO_WAYS) as lab:
        for number in "12":
            run_in(None, ["ip", "link", "add", f"x{number}", "type", "veth", "peer", "name", f"y{number}"])
            linkwrite.set_link(f"x{number}", up=True)
            linkwrite.set_link(f"y{number}", up=True)
        lab.apply()
        yield lab
        for number in "12":
            run_in(None, ["sh", "-c", f"ip link del x{number} 2>/dev/null || true"])


def way(lab: Lab) -> tuple[str, list[bool]]:
    """The port that 10.9/16 leaves by, and which of its two routes are active."""
    (cube,) = lab.live(state=True)["cubes"]
    ports = [entry["port"] for entry in cube["fib"] if entry["network"] == "10.9.0.0/16"]
    return ports[0], [route["active"] for route in cube["route"]]


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def test_the_other_way_is_taken_while_a_link_is_down_gone_or_without_carrier(lab: Lab) -> None:
    assert way(lab) == ("p1", [True, False])
    linkwrite.set_link("x1", up=False)
    assert {change.address for change in lab.drift()} >= {"cube/r1/table/fib4_root", "cube/r1/table/routes"}
    lab.apply()
    assert way(lab) == ("p2", [False, True])
    linkwrite.set_link("x1", up=True)
    lab.apply()
    assert way(lab) == ("p1", [True, False])
    linkwrite.set_link("y1", up=False)
    lab.apply()
    assert way(lab) == ("p2", [False, True])
    linkwrite.set_link("y2", up=False)
    lab.apply()
    assert way(lab) == ("p1", [False, False]), "the last resort"
    run_in(None, ["ip", "link", "del", "x1"])
    linkwrite.set_link("y2", up=True)
    lab.apply()
    assert way(lab) == ("p2", [False, True])


def test_an_agent_follows_links_by_itself(lab: Lab, tmp_path: Path) -> None:
    bench = Bench(lab, tmp_path)
    bench.save()
    with bench.agent():
        linkwrite.set_link("y1", up=False)
        assert within(5, lambda: way(lab) == ("p2", [False, True]))
        linkwrite.set_link("y1", up=True)
        assert within(5, lambda: way(lab) == ("p1", [True, False]))


def test_an_apply_makes_routes_over_links_that_it_makes_active_at_once() -> None:
    text = TWO_WAYS.replace("x1", "v1").replace("x2", "v2")
    with Lab("hosts: {h1: 10.0.1.1/24, h2: 10.0.2.1/24}\n" + text.lstrip()) as lab:
        lab.apply()
        assert way(lab) == ("p1", [True, False])
        assert not lab.apply().plan.steps


def test_an_agent_forgets_stations_behind_a_link_that_lost_its_carrier(tmp_path: Path) -> None:
    with Lab(OWNED) as lab:
        lab.apply()
        bench = Bench(lab, tmp_path)
        bench.save()
        assert lab.ok("h1", "10.0.0.2")

        def knows(host: str) -> bool:
            mac = bytes.fromhex(lab.mac(host).replace(":", ""))
            return any(key[:6] == mac for key in lab.table("br1", "fwdtable"))

        with bench.agent():
            assert knows("h1")
            assert knows("h2")
            with netns.inside(lab.space("h1")):
                linkwrite.set_link("eth0", up=False)
            assert within(20, lambda: not knows("h1")), "also if a look set it up again before its message came"
            assert knows("h2")
