"""The sample service to copy: what a bucket lets through, what is seen and told of it, and that an edit forgets no source."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.service.registry import HERE, Services
from tests.lib.agent_process import Stream
from tests.lib.frames import packet
from tests.lib.lab import HOOKS, Lab
from tests.lib.slowpaths import SlowPaths

HOME = Path(HERE, "examples", "services")
SCENARIO = """
hosts: {h1: 10.0.0.1/24, h2: 10.0.0.2/24}
cubes:
  - {name: switch, service-name: simplebridge, ports: [{name: p1, peer: v1, tcubes: [limit]}, {name: p2, peer: v2}]}
  - {name: limit, service-name: tokenbucket, rate: 1, burst: 5}
"""
GREEDY, MODEST = (packet(f"10.0.0.{last}", "10.0.0.2") for last in (77, 78))


@pytest.fixture(params=HOOKS)
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab(SCENARIO, hook=request.param) as lab:
        lab.options.services = Services([HOME])
        lab.apply()
        yield lab


def passed(lab: Lab, *frames: bytes) -> int:
    """How many of these frames arrive."""
    with lab.sniff("h2") as there:
        lab.send("h1", *frames)
        return len(there.all(predicate=lambda seen: any(seen[12:34] == frame[12:34] for frame in frames)))


def source(lab: Lab, address: str) -> dict[str, int]:
    return next((row for row in lab.live_cube("limit", state=True).get("source", []) if row["src"] == address), {})


def test_a_source_has_its_burst_and_what_is_more_is_dropped_counted_and_told_once(lab: Lab) -> None:
    with closing(SlowPaths(lab.root, lab.options.services)) as slow:
        slow.refresh()
        assert passed(lab, *[GREEDY] * 12) in (5, 6)  # six if a second went by
        assert passed(lab, *[MODEST] * 4) == 4
        assert passed(lab, *[packet("10.0.0.77", "10.0.0.2", tags=(0x8100,))] * 12, *[packet("fe80::77", "fe80::2")] * 12) == 24
        slow.drain()
        assert slow.said == [("log", "limit", "INFO", "10.0.0.77 is throttled"), ("notification", "limit", "throttled", "10.0.0.77")]
    dropped = source(lab, "10.0.0.77")["dropped"]
    assert dropped in (6, 7)
    assert source(lab, "10.0.0.78")["dropped"] == 0
    assert lab.live_cube("limit", state=True)["stats"] == {"dropped": dropped}
    assert lab.drops("limit") == {"8": dropped}  # the first reason of the service's own
    assert not lab.drift()


def test_another_rate_or_burst_loses_no_packet_and_forgets_no_source(lab: Lab) -> None:
    passed(lab, *[GREEDY] * 12)
    dropped = source(lab, "10.0.0.77")["dropped"]
    lab.cube("limit").update(rate=10000, burst=10000)
    assert str(lab.apply().plan.disruption) == "none"
    with Stream(lab.space("h1"), lab.space("h2"), "10.0.0.2") as stream:
        for rate in (20000, 30000):
            lab.cube("limit")["rate"] = rate
            lab.apply()
    assert stream.lost() == 0
    assert source(lab, "10.0.0.77")["dropped"] == dropped
    assert passed(lab, *[GREEDY] * 12) == 12  # its bucket is filled at the new rate
    assert not lab.drift()


def test_a_source_that_is_forgotten_begins_with_a_full_bucket(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    passed(lab, *[GREEDY] * 12)
    for known in (True, False):
        assert lab.pcn("action", "limit", "forget", "src=10.0.0.77", "-o", "json", "--services", str(HOME)) == 0
        assert json.loads(capsys.readouterr().out)["output"] == {"known": known}
    assert source(lab, "10.0.0.77") == {}
    assert lab.pcn("action", "limit", "forget", "src=10.0.0.77", "--services", str(HOME)) == 0
    assert "known: false" in capsys.readouterr().out
    assert passed(lab, *[GREEDY] * 5) == 5
