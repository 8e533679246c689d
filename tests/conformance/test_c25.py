"""C25: chains. In what order a packet meets transparent cubes, seen by what they log, and that a chain can be changed."""
from __future__ import annotations

import copy

import pytest

from reconciler.errors import DocumentError
from reconciler.plan.steps import Disruption
from tests.lib.lab import HOOKS, Counts, Lab, counts, own_counts
from tests.lib.traffic import Census, Flood, exactly_once, numbered

pytestmark = pytest.mark.kernel

# v1 -[th1]- (th2) hw1 (th3) - hw2 - v2: th1 on the netdev, th2 and th3 on hw1's ports
CHAIN = """
hosts:
  h1: {addresses: [10.0.0.1/24], here: {addresses: [10.0.0.254/24]}}
  h2: 10.0.0.2/24
cubes:
  - name: hw1
    service-name: helloworld
    loglevel: TRACE
    action: FORWARD
    ports: [{name: to_veth1, peer: v1, tcubes: [th2]}, {name: to_hw2, peer: "hw2:to_hw1", tcubes: [th3]}]
  - name: hw2
    service-name: helloworld
    loglevel: TRACE
    action: FORWARD
    ports: [{name: to_hw1, peer: "hw1:to_hw2"}, {name: to_veth2, peer: v2}]
  - {name: th1, service-name: transparenthelloworld, loglevel: TRACE}
  - {name: th2, service-name: transparenthelloworld, loglevel: TRACE}
  - {name: th3, service-name: transparenthelloworld, loglevel: TRACE}
attachments: [{netdev: v1, tcubes: [th1]}]
"""

FIVE = """
hosts: {h1: {addresses: [10.0.0.1/24], here: {addresses: [10.0.0.2/24]}}}
cubes:
  - {name: th1, service-name: transparenthelloworld, loglevel: TRACE}
  - {name: th2, service-name: transparenthelloworld, loglevel: TRACE}
  - {name: th3, service-name: transparenthelloworld, loglevel: TRACE}
  - {name: th4, service-name: transparenthelloworld, loglevel: TRACE}
  - {name: th5, service-name: transparenthelloworld, loglevel: TRACE}
attachments: [{netdev: v1, tcubes: [th1, th2, th3, th4, th5]}]
"""
THROUGH = """
hosts: {h1: 10.0.0.1/24, h2: 10.0.0.2/24}
cubes:
  - {name: hw1, service-name: helloworld, action: FORWARD, ports: [{name: p1, peer: v1}, {name: p2, peer: v2}]}
  - {name: th1, service-name: transparenthelloworld, loglevel: TRACE}
  - {name: th2, service-name: transparenthelloworld, loglevel: TRACE}
  - {name: th3, service-name: transparenthelloworld, loglevel: TRACE}
  - {name: th4, service-name: transparenthelloworld, loglevel: TRACE}
  - {name: th5, service-name: transparenthelloworld, loglevel: TRACE}
attachments: [{netdev: v1, tcubes: [th1, th2, th3, th4, th5]}]
"""
WORDS = {"[INGRESS] Receiving packet": "IN", "[INGRESS] Packet coming in": "IN", "Forwarding packet": "FWD", "[EGRESS]": "EG"}
THERE = ["th1 IN", "th2 IN", "hw1 IN", "hw1 FWD", "th3 EG", "hw2 IN", "hw2 FWD", "hw2 EG"]
BACK = ["hw2 IN", "hw2 FWD", "th3 IN", "hw1 IN", "hw1 FWD", "th2 EG", "hw1 EG", "th1 EG"]


def seen(lines: list[str]) -> list[str]:
    """'hw1 IN' and so on, in the notation of the scenario."""
    found = []
    for line in lines:
        cube, _, text = line.partition(": ")
        found.append(f"{cube} {next(word for start, word in WORDS.items() if text.startswith(start))}")
    return found


def frame(lab: Lab) -> bytes:
    return numbered("02:00:00:00:00:01", "02:00:00:00:00:02", 0, 0)


@pytest.fixture(params=HOOKS)
def chain(request):
    with Lab(CHAIN, hook=request.param) as lab:
        lab.apply()
        yield lab


@pytest.fixture(params=HOOKS)
def five(request):
    with Lab(FIVE, hook=request.param) as lab:
        lab.apply()
        yield lab


@pytest.fixture(params=HOOKS)
def through(request):
    with Lab(THROUGH, hook=request.param) as lab:
        lab.apply()
        yield lab


@pytest.mark.fused_and_unfused
def test_a_packet_from_the_first_host_meets_the_cubes_in_the_order_of_the_chain(chain):
    with chain.logged() as lines:
        chain.send("h1", frame(chain))
    assert seen(lines) == THERE


@pytest.mark.fused_and_unfused
def test_a_packet_from_the_second_host_meets_them_the_other_way_round(chain):
    with chain.logged() as lines:
        chain.send("h2", frame(chain))
    assert seen(lines) == BACK


@pytest.mark.fused_and_unfused
def test_a_packet_from_the_stack_meets_what_is_on_the_netdev_only(chain):
    with chain.logged() as lines:
        chain.send(None, frame(chain), device="v1")
    assert seen(lines) == ["hw1 EG", "th1 EG"]


@pytest.mark.fused_and_unfused
def test_five_cubes_on_a_netdev_are_met_from_the_wire_inwards_and_left_in_reverse(five):
    names = ["th1", "th2", "th3", "th4", "th5"]
    with five.logged() as lines:
        five.send("h1", frame(five))
    assert seen(lines) == [f"{name} IN" for name in names]
    with five.logged() as lines:
        five.send(None, frame(five), device="v1")
    assert seen(lines) == [f"{name} EG" for name in reversed(names)]
    assert five.ok("h1", "10.0.0.2")


@pytest.mark.fused_and_unfused
def test_two_cubes_in_the_middle_go_without_a_lost_packet_and_the_others_keep_their_order(through):
    taken = ("th2", "th4")
    with Census(through, ["h1", "h2"]) as census, Flood(through, "h1", through.mac("h2")) as there, Flood(through, "h2", through.mac("h1")) as back:
        through.spec["cubes"] = [cube for cube in through.spec["cubes"] if cube["name"] not in taken]
        through.spec["attachments"] = [{"netdev": "v1", "tcubes": ["th1", "th3", "th5"]}]
        done = through.apply()
    assert exactly_once(census, "h2", there) == ""
    assert exactly_once(census, "h1", back) == ""
    assert census.order("h2", there.stream) == list(range(there.sent))
    assert own_counts(done).program_loads == 0
    assert through.ok("h1", "10.0.0.2")
    with through.logged() as lines:
        through.send("h1", frame(through))
        through.send("h2", frame(through))
    assert seen(lines) == ["th1 IN", "th3 IN", "th5 IN", "th5 EG", "th3 EG", "th1 EG"]


@pytest.mark.fused_and_unfused
def test_cubes_put_back_in_another_order_are_met_in_that_order(through):
    through.spec["attachments"] = [{"netdev": "v1", "tcubes": ["th5", "th1", "th4", "th2", "th3"]}]
    with Census(through, ["h2"]) as census, Flood(through, "h1", through.mac("h2")) as there:
        done = through.apply()
    assert exactly_once(census, "h2", there) == ""
    assert own_counts(done) == Counts(link_changes=counts(done).link_changes)
    with through.logged() as lines:
        through.send("h1", frame(through))
        through.send("h2", frame(through))
    inwards = ["th5", "th1", "th4", "th2", "th3"]
    assert seen(lines) == [f"{name} IN" for name in inwards] + [f"{name} EG" for name in reversed(inwards)]


@pytest.mark.fused_and_unfused
def test_a_peer_that_is_set_after_the_transparent_cubes_is_reached_through_them(chain):
    ends = [chain.port(cube, port) for cube, port in (("hw1", "to_veth1"), ("hw1", "to_hw2"), ("hw2", "to_hw1"))]
    peers = [end.pop("peer") for end in ends]
    chain.apply()
    assert chain.fails("h1", "10.0.0.2")
    for end, peer in zip(ends, peers, strict=True):
        end["peer"] = peer
    done = own_counts(chain.apply())
    twin = 0 if chain.hook == "TC" else 3  # hw1's egress side and two ways into it, for what v1's own stack sends
    assert done == Counts(program_loads=twin, link_changes=done.link_changes)
    assert chain.ok("h1", "10.0.0.2")
    with chain.logged() as lines:
        chain.send("h1", frame(chain))
    assert seen(lines) == THERE


@pytest.mark.fused_and_unfused
def test_a_dropping_cube_stops_its_own_direction_only(chain):
    assert chain.ok("h1", "10.0.0.2")
    for name, side in (("th1", "egress-action"), ("th3", "ingress-action")):
        chain.cube(name)[side] = "DROP"
        assert counts(chain.apply()) == Counts(map_writes=1)
        assert chain.fails("h1", "10.0.0.2")
        assert chain.drops(name) == {"POLICY": 2}
        with chain.logged() as lines:
            chain.send("h1", frame(chain))
        assert seen(lines) == THERE
        chain.cube(name)[side] = "PASS"
        chain.apply()
    assert chain.ok("h1", "10.0.0.2")


@pytest.mark.parametrize("hook", HOOKS)
def test_an_egress_drop_on_a_netdev_silences_the_stack_behind_it(hook):
    with Lab(FIVE, hook=hook) as lab:
        lab.apply()
        assert lab.ok("h1", "10.0.0.2")
        lab.cube("th3")["egress-action"] = "DROP"
        lab.apply()
        assert lab.fails("h1", "10.0.0.2")
        assert lab.drops("th3") == {"POLICY": 2}


# -- what cannot be attached is an error of the document, and nothing is touched --------------------------------------


def refused(lab: Lab) -> str:
    """The one thing that is wrong with the lab's document."""
    with pytest.raises(DocumentError) as found:
        lab.apply()
    assert [problem.severity for problem in found.value.problems] == ["error"]
    assert found.value.problems[0].where is not None
    assert not lab.drift()
    return str(found.value.problems[0])


@pytest.fixture(scope="module")
def chain_at_rest(compiled_programs):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PCN_CACHE", str(compiled_programs))
        with Lab(CHAIN) as lab:
            lab.apply()
            yield lab


@pytest.fixture
def at_rest(chain_at_rest):
    """One lab for all of these tests: each gets the document as it was applied, and none may change the kernel."""
    said = copy.deepcopy(chain_at_rest.spec)
    yield chain_at_rest
    chain_at_rest.spec = said
    assert not chain_at_rest.plan().plan.steps


def test_a_standard_cube_cannot_be_attached(at_rest):
    at_rest.spec["attachments"][0]["tcubes"] = ["th1", "hw2"]
    message = refused(at_rest)
    assert "attachments/v1/tcubes" in message
    assert '"hw2" is a helloworld, which is not a transparent cube' in message


def test_a_cube_may_be_attached_in_two_places_which_polycube_refuses(at_rest):
    at_rest.port("hw1", "to_hw2")["tcubes"] = ["th3", "th1"]
    assert at_rest.plan().plan.disruption == Disruption.NONE


def test_a_cube_cannot_be_attached_twice_in_one_place(at_rest):
    at_rest.port("hw1", "to_hw2")["tcubes"] = ["th3", "th3"]
    assert "th3" in refused(at_rest)


def test_a_cube_that_does_not_exist_cannot_be_attached(at_rest):
    at_rest.port("hw1", "to_hw2")["tcubes"] = ["th4"]
    assert 'no such cube "th4" (did you mean' in refused(at_rest)


def test_an_xdp_cube_cannot_be_attached_to_a_port_under_tc(at_rest):
    at_rest.cube("th3")["type"] = "XDP_SKB"
    message = refused(at_rest)
    assert "cubes/hw1/ports/to_hw2/tcubes" in message
    assert '"th3" is a XDP_SKB cube' in message


def test_a_tc_cube_cannot_be_attached_to_a_netdev_that_leads_to_an_xdp_cube():
    with Lab(THROUGH, hook="XDP_SKB") as lab:
        lab.apply()
        lab.cube("th3")["type"] = "TC"
        message = refused(lab)
        assert "attachments/v1/tcubes" in message
        assert "TC" in message


@pytest.mark.parametrize("xdp", ["XDP_SKB", "XDP_DRV"])
def test_cubes_of_different_hooks_cannot_be_joined(at_rest, xdp):
    at_rest.cube("hw2")["type"] = xdp
    with pytest.raises(DocumentError, match=f'"hw1" is a TC cube, "hw2" a {xdp} cube: they cannot be joined'):
        at_rest.apply()
    assert not at_rest.drift()


@pytest.mark.fused_and_unfused
def test_what_is_not_attached_any_more_needs_no_detaching(chain):
    """Polycube's error for detaching what is not attached has no counterpart: a cube that is listed nowhere is idle."""
    del chain.spec["attachments"]
    chain.apply()
    assert not chain.plan().plan.steps
    assert chain.ok("h1", "10.0.0.2")
    assert "th1" in {cube["name"] for cube in chain.live()["cubes"]}
