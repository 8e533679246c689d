"""What each C source says to each kind of packet: every branch, under TC and under XDP, and what is counted as dropped why.

Packets are put to the stubs by which they would enter (BPF_PROG_TEST_RUN), so the way through the cube is the real one. The
program is the same in both modes of XDP. ddosmitigator has a module of its own.
"""
from __future__ import annotations

import contextlib
import json
import struct

import pytest

from tests.lib.frames import BROADCAST, H1, H2, H3, ethernet
from tests.lib.lab import Lab

pytestmark = pytest.mark.kernel

HOOKS = ("TC", "XDP_DRV")
HOSTS = {"h1": {"addresses": ["10.0.0.1/24"], "here": {"addresses": ["10.0.0.254/24"]}}, "h2": "10.0.0.2/24", "h3": "10.0.0.3/24"}


def scenario(*cubes: dict, hosts: dict = HOSTS, attachments: tuple = ()) -> str:
    return json.dumps({"hosts": hosts, "cubes": cubes, "attachments": attachments})


@pytest.fixture(params=HOOKS)
def hook(request):
    return request.param


@pytest.fixture
def lab(hook):
    """Makes the lab that a test is about."""
    with contextlib.ExitStack() as stack:

        def make(*cubes: dict, **rest) -> Lab:
            made = stack.enter_context(Lab(scenario(*cubes, **rest), hook=hook))
            made.apply()
            return made

        yield make


# -- helloworld -------------------------------------------------------------------------------------------------------


def helloworld(action: str, *peers: str | None) -> dict:
    ports = [{"name": f"p{number}"} | ({"peer": peer} if peer else {}) for number, peer in enumerate(peers, 1)]
    return {"name": "hw", "service-name": "helloworld", "action": action, "ports": ports}


def test_helloworld_forwards_to_the_other_port(lab):
    made = lab(helloworld("FORWARD", "v1", "v2"))
    assert made.run("cubes/hw/in/0_p1", ethernet(H1, H2)) == "redirect"
    assert made.run("cubes/hw/in/1_p2", ethernet(H2, H1)) == "redirect"
    assert made.drops("hw") == {}


@pytest.mark.parametrize("peers", [("v1", None), ("v1",)])
def test_helloworld_drops_what_would_leave_by_a_port_that_leads_nowhere(lab, peers):
    made = lab(helloworld("FORWARD", *peers))
    assert made.run("cubes/hw/in/0_p1", ethernet(H1, H2)) == "drop"
    assert made.drops("hw") == {"NO_PEER": 1}


def test_helloworld_drops_by_policy(lab):
    made = lab(helloworld("DROP", "v1", "v2"))
    assert made.run("cubes/hw/in/0_p1", ethernet(H1, H2)) == "drop"
    assert made.drops("hw") == {"POLICY": 1}


def test_helloworld_takes_an_action_that_it_does_not_know_for_a_drop(lab):
    made = lab(helloworld("FORWARD", "v1", "v2"))
    made.write("hw", "action_map", bytes(4), struct.pack("<I", 9))
    assert made.run("cubes/hw/in/0_p1", ethernet(H1, H2)) == "drop"
    assert made.drops("hw") == {"POLICY": 1}


def test_what_goes_to_a_slow_path_that_a_service_does_not_have_is_dropped_and_counted_and_costs_no_ring(lab):
    made = lab(helloworld("SLOWPATH", "v1", "v2"))
    assert made.run("cubes/hw/in/0_p1", ethernet(H1, H2)) == "drop"
    assert made.drops("hw") == {"NO_SLOWPATH": 1}
    assert "slowpath" not in made.reader().names("cubes/hw")


def test_helloworld_lets_go_what_leaves(lab):
    """Under TC it is at the netdev's egress hook already; under XDP it is redirected, and the twin meets the stack's own."""
    made = lab(helloworld("DROP", "v1", "v2"))
    if made.hook == "TC":
        assert made.run("cubes/hw/out/0_p1", ethernet(H1, H2)) == "pass"
    else:
        assert made.run("cubes/hw/out/0_p1", ethernet(H1, H2)) == "redirect"
        assert made.run("cubes/hw/twin/out/0_p1", ethernet(H1, H2), family="TC") == "pass"
    assert made.drops("hw") == {}


# -- simpleforwarder --------------------------------------------------------------------------------------------------

FORWARDER = {
    "name": "fwd", "service-name": "simpleforwarder",
    "ports": [{"name": "p1", "peer": "v1"}, {"name": "p2", "peer": "v2"}, {"name": "p3"}, {"name": "p4", "peer": "v3"}, {"name": "p5"}],
    "actions": [{"inport": "p1", "action": "FORWARD", "outport": "p2"}, {"inport": "p2", "action": "FORWARD", "outport": "p3"},
                {"inport": "p3", "action": "DROP"}, {"inport": "p4", "action": "SLOWPATH"}],
}  # fmt: skip


@pytest.mark.parametrize(("port", "verdict", "drops"), [
    ("0_p1", "redirect", {}),
    ("1_p2", "drop", {"NO_PEER": 1}),
    ("2_p3", "drop", {"POLICY": 1}),
    ("3_p4", "drop", {}),
    ("4_p5", "drop", {"POLICY": 1}),
], ids=["forward", "forward to a port without a peer", "drop", "slow path", "no action"])  # fmt: skip
def test_simpleforwarder_does_as_the_row_of_the_port_of_arrival_says(lab, port, verdict, drops):
    made = lab(FORWARDER)
    assert made.run(f"cubes/fwd/in/{port}", ethernet(H1, H2)) == verdict
    assert {why: count for why, count in made.drops("fwd").items() if why != "NO_SLOWPATH"} == drops


# -- simplebridge -----------------------------------------------------------------------------------------------------


def bridge(*peers: str | None, **fdb) -> dict:
    ports = [{"name": f"p{number}"} | ({"peer": peer} if peer else {}) for number, peer in enumerate(peers, 1)]
    return {"name": "br", "service-name": "simplebridge", "ports": ports, "fdb": fdb}


def learned(made: Lab) -> dict[str, int]:
    """Index of the port by station, as the datapath holds it."""
    return {key[:6].hex(":"): struct.unpack_from("<I", value)[0] for key, value in made.table("br", "fwdtable").items()}


def test_simplebridge_learns_the_sender_and_floods_what_it_does_not_know(lab):
    made = lab(bridge("v1", "v2", "v3"))
    assert made.run("cubes/br/in/0_p1", ethernet(H1, H2)) == "redirect"
    assert made.run("cubes/br/in/1_p2", ethernet(H2, BROADCAST)) == "redirect"
    assert learned(made) == {H1: 0, H2: 1}
    assert made.drops("br") == {}


def test_simplebridge_takes_a_frame_that_is_nothing_but_its_header(lab):
    made = lab(bridge("v1", "v2", "v3"))
    assert made.run("cubes/br/in/0_p1", ethernet(H1, H2, payload=b"")) == "redirect"
    assert learned(made) == {H1: 0}


@pytest.mark.parametrize("sender", [BROADCAST, "01:00:5e:00:00:01", "03:00:00:00:00:01"])
def test_simplebridge_learns_no_group_address(lab, sender):
    made = lab(bridge("v1", "v2"))
    assert made.run("cubes/br/in/0_p1", ethernet(sender, H2)) == "redirect"
    assert learned(made) == {}


def test_simplebridge_drops_what_is_for_the_side_it_came_from(lab):
    made = lab(bridge("v1", "v2"))
    made.run("cubes/br/in/0_p1", ethernet(H1, BROADCAST))
    made.run("cubes/br/in/0_p1", ethernet(H3, BROADCAST))
    assert made.run("cubes/br/in/0_p1", ethernet(H1, H3)) == "drop"
    assert made.drops("br") == {"POLICY": 1}


def test_simplebridge_drops_what_is_for_a_station_behind_a_port_that_leads_nowhere(lab):
    made = lab(bridge("v1", None, entry=[{"address": H2, "port": "p2"}]))
    assert made.run("cubes/br/in/0_p1", ethernet(H1, H2)) == "drop"
    assert made.drops("br") == {"NO_PEER": 1}


def test_simplebridge_with_nobody_to_flood_to_says_so(lab):
    made = lab(bridge("v1", None, None))
    assert made.run("cubes/br/in/0_p1", ethernet(H1, H2)) == "drop"
    assert made.drops("br") == {"NO_PEER": 1}


def test_simplebridge_floods_to_a_port_after_those_that_lead_nowhere(lab):
    made = lab(bridge("v1", None, "v2"))
    assert made.run("cubes/br/in/0_p1", ethernet(H1, H2)) == "redirect"
    assert made.run("cubes/br/in/2_p3", ethernet(H1, BROADCAST)) == "redirect"
    assert made.drops("br") == {}


def test_simplebridge_keeps_a_static_station_where_it_was_put(lab):
    made = lab(bridge("v1", "v2", "v3", entry=[{"address": H2, "port": "p2"}]))
    made.run("cubes/br/in/2_p3", ethernet(H2, BROADCAST))  # it says that it is at p3
    assert learned(made) == {}
    assert made.run("cubes/br/in/1_p2", ethernet(H1, H2)) == "drop"  # behind p2, where this came from
    assert made.run("cubes/br/in/2_p3", ethernet(H1, H2)) == "redirect"
    assert made.live_cube("br")["fdb"]["entry"] == [{"address": H2, "port": "p2"}]


def test_simplebridge_prefers_a_static_entry_to_what_it_learned_before(lab):
    made = lab(bridge("v1", "v2", "v3"))
    made.run("cubes/br/in/2_p3", ethernet(H2, BROADCAST))
    assert made.run("cubes/br/in/2_p3", ethernet(H1, H2)) == "drop"
    made.cube("br")["fdb"] = {"entry": [{"address": H2, "port": "p2"}]}
    made.apply()
    assert made.run("cubes/br/in/2_p3", ethernet(H1, H2)) == "redirect"
    assert made.run("cubes/br/in/1_p2", ethernet(H1, H2)) == "drop"
    assert {entry["address"]: entry["port"] for entry in made.live_cube("br", state=True)["fdb"]["entry"]}[H2] == "p2"
    made.cube("br")["fdb"] = {}
    made.apply()
    assert made.run("cubes/br/in/2_p3", ethernet(H1, H2)) == "drop"


def test_simplebridge_floods_for_a_station_that_it_has_not_seen_for_longer_than_the_ageing_time(lab):
    """At its own port: there, only what is flooded gets on."""
    made = lab(bridge("v1", "v2", "v3", **{"aging-time": 10}))
    made.run("cubes/br/in/0_p1", ethernet(H2, BROADCAST))
    assert made.run("cubes/br/in/0_p1", ethernet(H1, H2)) == "drop"
    key, value = next((key, value) for key, value in made.table("br", "fwdtable").items() if key[:6].hex(":") == H2)
    port, seen = struct.unpack("<II", value)
    for age, verdict in ((9, "drop"), (12, "redirect")):
        made.write("br", "fwdtable", key, struct.pack("<II", port, seen - age))
        assert made.run("cubes/br/in/0_p1", ethernet(H1, H2)) == verdict
    made.run("cubes/br/in/0_p1", ethernet(H2, BROADCAST))
    assert made.run("cubes/br/in/0_p1", ethernet(H1, H2)) == "drop"


# -- transparenthelloworld --------------------------------------------------------------------------------------------


def watcher(**actions: str) -> dict:
    return {"name": "th", "service-name": "transparenthelloworld", **{f"{side}-action": action for side, action in actions.items()}}


ATTACHED = ({"netdev": "v1", "tcubes": ["th"]},)


@pytest.mark.parametrize(("action", "verdict", "drops"), [("PASS", "pass", {}), ("DROP", "drop", {"POLICY": 1}), ("SLOWPATH", "drop", {})])
def test_transparenthelloworld_does_to_what_comes_in_as_it_is_told(lab, action, verdict, drops):
    made = lab(watcher(ingress=action), attachments=ATTACHED)
    assert made.run("cubes/th/in/0_wire", ethernet(H1, H2)) == verdict
    assert {why: count for why, count in made.drops("th").items() if why != "NO_SLOWPATH"} == drops


@pytest.mark.parametrize(("action", "verdict", "drops"), [("PASS", "pass", {}), ("DROP", "drop", {"POLICY": 1}), ("SLOWPATH", "drop", {})])
def test_transparenthelloworld_does_to_what_goes_out_as_it_is_told(lab, action, verdict, drops):
    made = lab(watcher(egress=action), attachments=ATTACHED)
    out = "cubes/th/out/1_inner" if made.hook == "TC" else "cubes/th/twin/out/1_inner"
    assert made.run(out, ethernet(H1, H2), family="TC") == verdict
    assert {why: count for why, count in made.drops("th").items() if why != "NO_SLOWPATH"} == drops


def test_transparenthelloworld_drops_when_it_is_attached_to_nothing(lab):
    made = lab(watcher())
    assert made.run("cubes/th/in/0_wire", ethernet(H1, H2)) == "drop"
    assert made.run("cubes/th/out/1_inner", ethernet(H1, H2)) == "drop"
    assert made.drops("th") == {"NO_PEER": 2}
