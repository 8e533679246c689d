"""One transparent cube at several places, by name and by selector: what its programs see, and what comes and goes with netdevs."""
from __future__ import annotations

import json
import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler.engine.apply import apply
from reconciler.errors import DocumentError
from reconciler.kernel import linkwrite, rtnl
from reconciler.kernel.netlink import Netlink
from reconciler.model import Link, LinkEnd
from reconciler.plan.steps import Disruption
from tests.lib import packets
from tests.lib.agent_process import Bench
from tests.lib.lab import Lab, counts
from tests.lib.services import Tree, rx

COUNT = rx("""
  u32 key = md->in_port & 63;
  u64 *count = seen.lookup(&key);
  if (count && md->packet_len > 1000)
    __sync_fetch_and_add(count, 1);
  return PCN_EGRESS || key != 0x3f ? RX_OK : RX_DROP;
""", 'BPF_TABLE("array", u32, u64, seen, 64);\n')  # fmt: skip
CLOSED = rx("return md->packet_len ? RX_DROP : RX_OK;")
UP = rx("return md->packet_len ? pcn_pkt_controller(ctx, md, PCN_EGRESS ? 2 : 1) : RX_OK;")
HALF = """
class SlowPath:
    def __init__(self, cube):
        self.cube, self.seen = cube, {}
    def packet_in(self, packet, md, reason):
        self.seen[md.port] = self.seen.get(md.port, 0) + 1
        self.cube.notify("seen", self.seen)
        self.cube.send_packet_out(packet, md.port, "INGRESS" if reason == 1 else "EGRESS")
"""
SCENARIO = """
hosts: {h1: 10.0.0.1/24, h2: 10.0.0.2/24, h3: 10.0.0.3/24}
cubes:
  - {name: b, service-name: simplebridge, ports: [{name: p1, peer: v1}, {name: p2, peer: v2}, {name: p3, peer: v3}]}
  - {name: w, service-name: count}
attachments: [{netdev: v1, tcubes: [w]}, {netdev: v2, tcubes: [w]}]
"""


@contextmanager
def opened(tmp_path: Path, hook: str) -> Iterator[Lab]:
    tree = Tree(tmp_path / "services")
    tree.add("count", [COUNT], [COUNT], kind="transparent")
    tree.add("closed", [CLOSED], [CLOSED], kind="transparent")
    tree.add("up", [UP], [UP], kind="transparent", implementation=HALF)
    with Lab(SCENARIO, hook=hook) as lab:
        lab.options.services = tree.load()
        yield lab
        for name in ("own0", "own2"):
            linkwrite.delete_link(name)


@pytest.fixture(params=["TC", "XDP_SKB"])
def lab(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Lab]:
    with opened(tmp_path, request.param) as lab:
        yield lab


@pytest.fixture
def tc(tmp_path: Path) -> Iterator[Lab]:
    with opened(tmp_path, "TC") as lab:
        yield lab


def seen(lab: Lab, place: str) -> tuple[int, int]:
    """(from the wire, from inside), as the programs counted them at a place."""
    index = _index(lab, "w", place)
    rows = lab.table("w", "seen")
    side = [int.from_bytes(rows[struct.pack("<I", 2 * index + way)], "little") for way in (0, 1)]
    return side[0], side[1]


def _index(lab: Lab, cube: str, place: str) -> int:
    names = [name for name in lab.reader().names(f"cubes/{cube}/in") if name.partition("_")[2] == place]
    return int(names[0].partition("_")[0]) // 2


def big(lab: Lab, source: str, target: str) -> None:
    """Three answered pings that are long enough to be counted."""
    assert packets.ping(lab.space(source), target, 3, size=1200) == 3


def selector(lab: Lab, words: str, cube: str = "w") -> None:
    lab.spec["attachments"] = [{"netdevs": words, "tcubes": [cube]}]


def netdev(name: str, peer: str) -> None:
    with Netlink() as network:
        network.create_link(Link("veth", LinkEnd(name), LinkEnd(peer)), 0)


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def attached(lab: Lab) -> set[str]:
    return {netdev for netdev in lab.reader().names("links") if lab.reader().names(f"links/{netdev}")}


def test_each_place_has_an_index_that_programs_see(lab: Lab) -> None:
    lab.apply()
    assert not lab.plan().plan.steps
    assert not lab.drift()
    big(lab, "h1", "10.0.0.2")
    assert seen(lab, "v1") == (3, 3)
    assert seen(lab, "v2") == (3, 3)
    assert {_index(lab, "w", "v1"), _index(lab, "w", "v2")} == {0, 1}


def test_a_third_place_keeps_the_indices_of_the_two_and_resets_nothing(lab: Lab) -> None:
    lab.apply()
    big(lab, "h1", "10.0.0.2")
    before = {place: _index(lab, "w", place) for place in ("v1", "v2")}
    lab.spec["attachments"].insert(0, {"netdev": "v3", "tcubes": ["w"]})
    result = lab.apply()
    assert result.plan.disruption == Disruption.NONE
    assert {place: _index(lab, "w", place) for place in before} == before
    assert seen(lab, "v1") == (3, 3)
    big(lab, "h1", "10.0.0.3")
    assert seen(lab, "v3") == (3, 3)
    lab.spec["attachments"].pop()
    lab.apply()
    assert not lab.plan().plan.steps
    big(lab, "h1", "10.0.0.2")
    assert seen(lab, "v1") == (9, 9)


def test_from_one_place_to_several_and_back_no_packet_is_refused(lab: Lab) -> None:
    lab.spec["attachments"].pop()
    lab.apply()
    assert lab.ok("h1", "10.0.0.2")
    lab.spec["attachments"].append({"netdev": "v2", "tcubes": ["w"]})
    assert lab.apply().plan.disruption == Disruption.NONE
    assert lab.ok("h1", "10.0.0.2")
    lab.spec["attachments"].pop()
    lab.apply()
    assert lab.ok("h1", "10.0.0.2")
    assert not lab.drift()


def test_at_ports_too(lab: Lab) -> None:
    lab.spec["attachments"] = [{"netdev": "v1", "tcubes": ["w"]}]
    lab.port("b", "p2")["tcubes"] = ["w"]
    lab.port("b", "p3")["tcubes"] = ["w"]
    lab.apply()
    big(lab, "h1", "10.0.0.2")
    assert (seen(lab, "v1"), seen(lab, "b:p2"), seen(lab, "b:p3")) == ((3, 3), (3, 3), (0, 0))
    shown = lab.live()
    assert shown["attachments"] == [{"netdev": "v1", "tcubes": ["w"]}]
    assert [port.get("tcubes") for port in shown["cubes"][0]["ports"]] == [None, ["w"], ["w"]]
    assert not lab.plan().plan.steps


def test_a_selector_is_where_it_matches_and_is_shown_as_it_is_written(lab: Lab) -> None:
    selector(lab, "v* !v3")
    lab.apply()
    big(lab, "h1", "10.0.0.2")
    assert (seen(lab, "v1"), seen(lab, "v2")) == ((3, 3), (3, 3))
    assert lab.live()["attachments"] == [{"netdevs": "v* !v3", "tcubes": ["w"]}]
    assert not lab.plan().plan.steps
    selector(lab, "all")
    assert lab.apply().plan.disruption == Disruption.NONE
    big(lab, "h1", "10.0.0.3")
    assert seen(lab, "v3") == (3, 3)
    assert "lo" not in attached(lab)


def test_what_a_selector_matches_follows_the_netdevs_there_are(lab: Lab) -> None:
    selector(lab, "kind:veth !own1 !own3")
    lab.apply()
    netdev("own0", "own1")
    assert {change.address.split("/")[0] for change in lab.drift()} <= {"cube", "hook", "stub"}
    assert lab.apply().plan.disruption == Disruption.NONE
    assert "own0" in attached(lab)
    assert not lab.plan().plan.steps
    linkwrite.delete_link("own0")
    gone = lab.plan()
    assert gone.plan.disruption == Disruption.NONE
    lab.apply()
    assert "own0" not in attached(lab)
    assert not lab.plan().plan.steps
    assert lab.live()["attachments"] == lab.spec["attachments"]
    assert lab.ok("h1", "10.0.0.2")


def test_a_selector_that_matches_nothing_is_right(lab: Lab) -> None:
    selector(lab, "nothing*")
    lab.apply()
    assert not lab.plan().plan.steps
    assert lab.live()["attachments"] == lab.spec["attachments"]


def test_what_was_detached_by_hand_is_drift_and_shown_as_what_is_there(tc: Lab) -> None:
    selector(tc, "v*")
    tc.apply()
    os.unlink(f"{tc.root}/links/v2/tcx_egress")
    os.unlink(f"{tc.root}/links/v2/tcx_ingress")
    assert tc.drift()
    assert {"netdevs": "v*", "tcubes": ["w"]} not in tc.live().get("attachments", [])
    tc.apply()
    assert not tc.drift()


def test_a_failed_step_leaves_everything_as_it_was(tc: Lab) -> None:
    tc.apply()
    before = tc.live()
    selector(tc, "all")
    total = len(tc.plan().plan.steps)

    for place in range(total):

        def fail(number: int, step: object, place: int = place) -> None:
            if number == place:
                raise OSError(5, "made up")

        tc.options.before = fail
        try:
            apply([tc.document()], tc.options)
        except Exception:  # noqa: BLE001 - whatever it is called, nothing may have changed
            assert tc.live() == before, place
        else:
            break
    tc.options.before = None
    tc.apply()
    assert not tc.plan().plan.steps


def test_two_selectors_and_a_name_at_one_netdev_are_a_chain(tc: Lab) -> None:
    tc.spec["cubes"].append({"name": "x", "service-name": "count"})
    tc.spec["cubes"].append({"name": "y", "service-name": "count"})
    tc.spec["attachments"] = [
        {"netdevs": "v*", "tcubes": ["w"]}, {"netdev": "v1", "tcubes": ["y"]}, {"netdevs": "v1 v2", "tcubes": ["x"]},
    ]  # fmt: skip
    tc.apply()
    big(tc, "h1", "10.0.0.2")
    assert seen(tc, "v1") == (3, 3)
    assert not tc.plan().plan.steps
    shown = tc.live()["attachments"]
    assert sorted(map(json.dumps, shown)) == sorted(map(json.dumps, tc.spec["attachments"]))


def test_a_firewall_at_all_netdevs_stops_what_each_would_let_in(lab: Lab) -> None:
    lab.spec["cubes"].append({"name": "f", "service-name": "closed"})
    lab.apply()
    assert lab.ok("h1", "10.0.0.3")
    lab.spec["attachments"].append({"netdevs": "all", "tcubes": ["f"]})
    lab.apply()
    assert lab.fails("h1", "10.0.0.3")
    assert lab.fails("h1", "10.0.0.2")
    lab.spec["attachments"].pop()
    lab.apply()
    assert lab.ok("h1", "10.0.0.3")


def test_an_agent_attaches_what_appears_and_takes_away_what_went(tc: Lab, tmp_path: Path) -> None:
    selector(tc, "all !own1 !own3")
    bench = Bench(tc, tmp_path)
    bench.save()
    for options in ((), ("--no-heal",)):
        with bench.agent("--services", str(tmp_path / "services"), *options) as agent:
            netdev("own0", "own1")
            netdev("own2", "own3")
            assert within(3, lambda: {"own0", "own2"} <= attached(tc)), agent.text()
            linkwrite.delete_link("own0")

            def is_own2_alone() -> bool:  # what was under way when own0 went may have been taken back, and is done again
                stubs = tc.reader().names("cubes/w/in")
                return {"own0", "own2"} & attached(tc) == {"own2"} and not any(name.endswith("_own0") for name in stubs)

            assert within(3, is_own2_alone), agent.text()
            linkwrite.delete_link("own2")
            agent.poll()
    assert not tc.drift()
    assert "own1" not in rtnl.links()


def test_a_slow_path_is_told_the_place_and_sends_on_there(lab: Lab, tmp_path: Path) -> None:
    lab.cube("w")["service-name"] = "up"
    lab.apply()
    bench = Bench(lab, tmp_path)
    bench.save()
    with bench.agent("--services", str(tmp_path / "services")) as agent:
        assert within(5, lambda: lab.ok("h1", "10.0.0.2", 1)), str(agent.status()["slow_path"]) + agent.text()

        def said() -> dict[str, int]:
            return agent.status()["slow_path"]["published"].get("w", {}).get("seen", {})

        assert within(3, lambda: said().keys() == {"v1", "v2"})
        selector(lab, "v2 v3")
        bench.save()
        assert within(5, lambda: lab.ok("h2", "10.0.0.3", 1) and "v3" in said()), agent.text()
    lab.cube("w")["service-name"] = "count"


@pytest.mark.parametrize(("attachments", "port", "words"), [
    ([{"netdev": "v1", "tcubes": ["w"]}], "p1", "whose peer it is: a packet would pass it twice"),
    ([{"netdevs": "v2", "tcubes": ["w"]}], "p1", "whose peer it may be: a packet would pass it twice"),
    ([{"netdevs": "a b  c", "tcubes": ["w"]}], "", "words with one space between them"),
    ([{"tcubes": ["w"]}], "", "an attachment is at one netdev"),
    ([{"netdev": "v1", "netdevs": "all", "tcubes": ["w"]}], "", "an attachment is at one netdev"),
    ([{"netdevs": "all", "tcubes": ["w"]}, {"netdevs": "all", "tcubes": ["w"]}], "", "duplicate"),
])  # fmt: skip
def test_what_is_refused(tc: Lab, attachments: list[dict[str, object]], port: str, words: str) -> None:
    tc.spec["attachments"] = attachments
    if port:
        tc.port("b", port)["tcubes"] = ["w"]
    with pytest.raises(DocumentError) as error:
        tc.plan()
    assert words in str(error.value), str(error.value)


def test_adding_a_place_loads_only_that_places_ways_in(tc: Lab) -> None:
    tc.apply()
    tc.spec["attachments"].append({"netdev": "v3", "tcubes": ["w"]})
    assert counts(tc.plan()).program_loads <= 4  # a way in and one out, and what is linked anew behind them
