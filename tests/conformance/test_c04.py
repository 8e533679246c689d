"""C04: the learning switch. Four hosts reach each other, and the forwarding database says who is where."""
from __future__ import annotations

import itertools
import time

import pytest

from tests.lib import packets
from tests.lib.lab import HOOKS, Counts, Lab, counts

pytestmark = pytest.mark.kernel

SCENARIO = """
hosts: {h1: 10.0.0.1/24, h2: 10.0.0.2/24, h3: 10.0.0.3/24, h4: 10.0.0.4/24}
cubes:
  - name: br1
    service-name: simplebridge
    ports: [{name: p1, peer: v1}, {name: p2, peer: v2}, {name: p3, peer: v3}, {name: p4, peer: v4}]
"""
HOSTS = ("h1", "h2", "h3", "h4")


@pytest.fixture(params=HOOKS)
def lab(request):
    with Lab(SCENARIO, hook=request.param) as lab:
        lab.apply()
        yield lab


def ping_cycle(lab: Lab) -> None:
    for number, (source, target) in enumerate(itertools.permutations(HOSTS, 2)):
        assert lab.ok(source, f"10.0.0.{target[1:]}"), f"{source} to {target}, pair {number}"


def stations(lab: Lab) -> dict[str, str]:
    """Port by address, as `show --state` has it."""
    entries = lab.live_cube("br1", state=True).get("fdb", {}).get("entry", [])
    assert len({entry["address"] for entry in entries}) == len(entries)
    return {entry["address"]: entry["port"] for entry in entries}


def flooded_to(lab: Lab, sender: str, listener: str, target: str) -> bool:
    """Whether a frame from one host to the address `target` reaches a third one."""
    frame = frame_between(lab.mac(sender), target)
    with lab.sniff(listener) as seen:
        lab.send(sender, frame)
        return seen.next(0.2, lambda found: found == frame) is not None


def frame_between(source: str, target: str) -> bytes:
    return bytes.fromhex((target + source).replace(":", "")) + b"\x88\xb5" + b"C04".ljust(50, b".")


def test_all_hosts_reach_each_other_and_each_is_learned_at_its_port(lab):
    ping_cycle(lab)
    assert stations(lab) == {lab.mac(host): f"p{host[1:]}" for host in HOSTS}
    assert not lab.drops("br1")


def test_what_is_learned_is_state_and_no_difference(lab):
    assert lab.ok("h1", "10.0.0.2")
    assert len(stations(lab)) == 2
    assert not lab.plan().plan.steps
    assert not lab.drift()
    assert "fdb" not in lab.live_cube("br1")


def test_a_flush_forgets_all_and_all_is_learned_again(lab):
    ping_cycle(lab)
    assert lab.pcn("action", "br1", "fdb/flush") == 0
    assert stations(lab) == {}
    ping_cycle(lab)
    assert len(stations(lab)) == 4


def test_a_known_station_is_not_flooded_and_one_that_was_not_seen_for_long_is(lab):
    """Ageing is a matter of seconds, so this waits for them; the change of the time is one map write."""
    assert lab.ok("h1", "10.0.0.2")
    target = lab.mac("h2")
    assert not flooded_to(lab, "h1", "h3", target)
    lab.cube("br1")["fdb"] = {"aging-time": 1}
    assert counts(lab.apply()) == Counts(map_writes=1)
    packets.send_frames(lab.space("h2"), "eth0", [frame_between(target, lab.mac("h1"))])
    assert not flooded_to(lab, "h1", "h3", target)
    assert stations(lab)[target] == "p2"
    time.sleep(2.1)
    assert target not in stations(lab), "shown, though the programs do not use it any more"
    assert flooded_to(lab, "h1", "h3", target)
    assert lab.ok("h1", "10.0.0.2")
    assert not flooded_to(lab, "h1", "h3", target)


def test_a_station_that_moves_is_learned_where_it_is_now(lab):
    assert lab.ok("h1", "10.0.0.2")
    mover = lab.mac("h1")
    lab.send("h3", frame_between(mover, "ff:ff:ff:ff:ff:ff"))
    assert stations(lab)[mover] == "p3"
    frame = frame_between(lab.mac("h2"), mover)
    with lab.sniff("h1") as old, lab.sniff("h3") as new:
        lab.send("h2", frame)
        assert new.next(0.5, lambda found: found == frame)
        assert old.next(0.1, lambda found: found == frame) is None


def test_a_swap_of_the_program_keeps_what_was_learned(lab):
    """The first static entry brings the look-up for them into the program."""
    ping_cycle(lab)
    before = stations(lab)
    lab.cube("br1")["fdb"] = {"entry": [{"address": "02:00:00:00:00:01", "port": "p1"}]}
    assert counts(lab.apply()) == Counts(program_loads=1, map_writes=1)
    assert stations(lab) == {**before, "02:00:00:00:00:01": "p1"}
    assert lab.ok("h3", "10.0.0.4")
