"""Edits, one at a time, under traffic: each does what it must and no more, and what it does not reach loses no packet."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy

import pytest

from reconciler.graph.records import LinkRecord
from reconciler.kernel import linkwrite, rtnl
from reconciler.plan.steps import LINK_CHANGES, MAP_WRITES, PROGRAM_LOADS, Disruption
from tests.faults.bench import Bench
from tests.faults.edit_under_traffic import EditUnderTraffic, edit_under_traffic
from tests.faults.flow import Flow
from tests.faults.graphs import Data, cube, example, hosts, unique, unreachable


@pytest.fixture
def bench(own_root: str) -> Bench:
    return Bench(own_root)


# -- rows, constants, log level --------------------------------------------------------------------------------------------


def test_a_row_is_one_map_write(bench: Bench) -> None:
    def edit(data: Data) -> None:
        cube(data, "br1")["fdb"]["aging-time"] = 7

    with edit_under_traffic(bench, unique(example("simplebridge")), edit) as made:
        assert (made.counts, made.disruption, made.lost, made.problems) == ((0, 1, 0), Disruption.NONE, 0, [])


def test_the_log_level_is_a_swap_of_programs_that_loses_no_packet(bench: Bench) -> None:
    def edit(data: Data) -> None:
        for each in data["spec"]["cubes"]:
            each["loglevel"] = "TRACE"

    with edit_under_traffic(bench, unique(example("simpleforwarder")), edit) as made:
        loads, writes, links = made.counts
        assert loads >= 2  # those that have something to say: helloworld's two
        assert (writes, links, made.disruption, made.lost, made.problems) == (0, 0, Disruption.NONE, 0, [])


@pytest.mark.parametrize("kind", ["TC", "XDP_DRV"])
def test_the_first_entry_of_a_blacklist_swaps_a_program_in_and_the_last_out_and_neither_loses_a_packet(bench: Bench, kind: str) -> None:
    old = unique(example("ddosmitigator"))
    for each in old["spec"]["cubes"]:
        each["type"] = kind
    del cube(old, "guard")["blacklist-src"]

    def first(data: Data) -> None:
        cube(data, "guard")["blacklist-src"] = [{"ip": "192.0.2.1"}]

    # Two loads: the guard's program, and the chain that begins with it. Two writes: the address, and its bits in front of the list.
    with edit_under_traffic(bench, old, first) as made:
        assert (made.counts, made.disruption, made.lost, made.problems) == ((2, 2, 0), Disruption.NONE, 0, [])
    new = deepcopy(old)
    first(new)
    with edit_under_traffic(bench, new, lambda data: cube(data, "guard").pop("blacklist-src")) as made:
        assert (made.counts, made.disruption, made.lost, made.problems) == ((2, 2, 0), Disruption.NONE, 0, [])


# -- ports and peers -------------------------------------------------------------------------------------------------------


def _third_host(data: Data) -> str:
    spec = data["spec"]
    near, space = spec["links"][0]["name"] + "n", spec["namespaces"][0] + "n"
    address = spec["links"][0]["peer"]["addresses"][0].replace(".1/24", ".9/24")
    spec["namespaces"].append(space)
    peer = {"name": "eth0", "netns": space, "addresses": [address], "mac": "02:00:00:00:09:09"}
    spec["links"].append({"name": near, "kind": "veth", "peer": peer})
    return str(near)


@pytest.mark.parametrize("kind", ["TC", "XDP_DRV"])
def test_a_new_port_touches_that_port_only(bench: Bench, kind: str) -> None:
    old = unique(example("simplebridge"))
    cube(old, "br1")["type"] = kind

    def edit(data: Data) -> None:
        cube(data, "br1")["ports"].append({"name": "p3", "peer": _third_host(data)})

    with edit_under_traffic(bench, old, edit) as made:
        loads, writes, _ = made.counts
        assert (loads, writes, made.disruption, made.lost, made.problems) == (1, 0, Disruption.NONE, 0, [])
        own = ("p3", "cube/", "link/", "namespace/", "hook/", "offload/", "topology/")
        assert [step.address for step in made.result.plan.steps if not any(word in step.address for word in own)] == []
        assert not any(step.operation.kind == "load_program" for step in made.result.plan.steps)


@pytest.mark.parametrize("kind", ["TC", "XDP_DRV"])
def test_a_port_that_goes_takes_its_station_with_it_and_no_packet_of_others(bench: Bench, kind: str) -> None:
    old = unique(example("simplebridge"))
    cube(old, "br1")["type"] = kind
    cube(old, "br1")["ports"].append({"name": "p3", "peer": _third_host(old)})

    def edit(data: Data) -> None:
        cube(data, "br1")["ports"].pop()

    with edit_under_traffic(bench, old, edit, patience=0.3) as made:
        loads, writes, _ = made.counts
        # The host at the removed port is still there, and talks to nobody.
        others = [problem for problem in made.problems if f"{hosts(old)[2].netns} " not in problem and hosts(old)[2].ip not in problem]
        assert (loads, writes, made.lost, others) == (0, 0, 0, [])


@pytest.mark.parametrize("kind", ["TC", "XDP_DRV"])
def test_a_peer_that_moves_to_another_netdev_loads_no_program(bench: Bench, kind: str) -> None:
    """Port p2 leads to the third host instead of the second; the flow is to the first from the third."""
    old = unique(example("simplebridge"))
    cube(old, "br1")["type"] = kind
    third = _third_host(old)

    def edit(data: Data) -> None:
        cube(data, "br1")["ports"][1]["peer"] = third

    new = deepcopy(old)
    edit(new)
    bench.apply(old)
    try:
        result = bench.apply(new)
        assert result.plan.total(PROGRAM_LOADS) == 0
        assert bench.plan(new).plan.steps == ()
        first, second, moved = hosts(new)
        from tests.lib.packets import ping

        assert ping(first.netns, moved.ip, 2) == 2
        assert ping(first.netns, second.ip, 1, timeout=0.3) == 0
    finally:
        bench.clear()


def test_two_ports_exchange_their_netdevs(bench: Bench) -> None:
    def edit(data: Data) -> None:
        one, two = cube(data, "br1")["ports"]
        one["peer"], two["peer"] = two["peer"], one["peer"]

    with edit_under_traffic(bench, unique(example("simplebridge")), edit, flow=False) as made:
        assert made.counts[0] == 0
        assert made.problems == []


def test_a_netdev_changes_over_to_another_cube(bench: Bench) -> None:
    """The chain's west end moves from the first forwarder to a bridge that is put before it."""

    def edit(data: Data) -> None:
        first = cube(data, "fwd1")
        netdev = first["ports"][0]["peer"]
        bridge = f"{first['name']}b"
        first["ports"][0]["peer"] = f"{bridge}:in"
        ports = [{"name": "out", "peer": netdev}, {"name": "in", "peer": f"{first['name']}:west"}]
        data["spec"]["cubes"].insert(0, {"name": bridge, "service-name": "simplebridge", "ports": ports})

    with edit_under_traffic(bench, unique(example("simpleforwarder")), edit) as made:
        assert (made.disruption, made.lost, made.problems) == (Disruption.NONE, 0, [])


def test_a_transparent_cube_is_put_before_a_port_and_taken_away_without_a_loss(bench: Bench) -> None:
    old = unique(example("simplebridge"))
    old["spec"]["cubes"].append({"name": f"{cube(old, 'br1')['name']}w", "service-name": "transparenthelloworld"})

    def edit(data: Data) -> None:
        for port in cube(data, "br1")["ports"][:1]:
            port["tcubes"] = [data["spec"]["cubes"][1]["name"]]

    with edit_under_traffic(bench, old, edit) as made:
        assert (made.disruption, made.lost, made.problems) == (Disruption.NONE, 0, [])
    new = deepcopy(old)
    edit(new)
    with edit_under_traffic(bench, new, lambda data: cube(data, "br1")["ports"][0].pop("tcubes")) as made:
        assert (made.lost, made.problems) == (0, [])


def test_transparent_cubes_change_their_order(bench: Bench) -> None:
    old = unique(example("simplebridge"))
    names = [f"{cube(old, 'br1')['name']}{letter}" for letter in "wxy"]
    old["spec"]["cubes"] += [{"name": name, "service-name": "transparenthelloworld"} for name in names]
    cube(old, "br1")["ports"][0]["tcubes"] = names

    def edit(data: Data) -> None:
        cube(data, "br1")["ports"][0]["tcubes"] = [names[2], names[0], names[1]]

    with edit_under_traffic(bench, old, edit) as made:
        loads = [step.operation.kind for step in made.result.plan.steps if step.counts == PROGRAM_LOADS]
        assert set(loads) <= {"load_chain", "load_stub"}  # what runs them in a row, and none of their own
        assert made.counts[1] == 0
        assert (made.disruption, made.lost, made.problems) == (Disruption.NONE, 0, [])


def test_a_netdev_that_leaves_its_topology_leaves_its_port_waiting(bench: Bench) -> None:
    def edit(data: Data) -> None:
        doomed = data["spec"]["links"].pop()
        data["spec"]["namespaces"].remove(doomed["peer"]["netns"])

    with edit_under_traffic(bench, unique(example("simplebridge")), edit, flow=False) as made:
        assert [(port, netdev) for _, port, netdev in made.result.plan.pending] == [("p2", f"{_tag(made)}-1")]
        assert made.problems == []


def _tag(made: EditUnderTraffic) -> str:
    return str(made.result.topologies[0].cubes[0].name).rpartition("-")[0]


# -- topologies ------------------------------------------------------------------------------------------------------------


def test_a_cube_and_its_links_move_to_another_topology_without_a_loss(bench: Bench) -> None:
    """All of it is written in another file now: nothing is made anew, and nothing is lost."""
    old = unique(example("simplebridge"))
    new = deepcopy(old)
    new["metadata"]["name"] = "elsewhere"
    emptied = {**old, "spec": {}}
    bench.apply(old)
    try:
        a, b = hosts(old)
        with Flow(a.netns, b.netns, b.ip) as traffic:
            time.sleep(0.03)
            result = bench.apply(emptied, new)
            time.sleep(0.03)
        assert [result.plan.total(what) for what in (PROGRAM_LOADS, MAP_WRITES, LINK_CHANGES)] == [0, 0, 0]
        assert traffic.lost == 0
        assert bench.plan(emptied, new).plan.steps == ()
        owners = {record.topology for record in result.session.desired.state.values() if isinstance(record, LinkRecord)}
        assert owners == {"elsewhere"}
        bench.delete(emptied)
        assert unreachable(new) == []
        assert bench.plan(new).plan.steps == ()
    finally:
        bench.clear()
    assert list(bench.paths()) == []


def test_what_another_topology_holds_is_untouched(bench: Bench) -> None:
    one, two = unique(example("simplebridge")), unique(example("simpleforwarder"))
    bench.apply(one)
    a, b = hosts(one)
    try:
        with Flow(a.netns, b.netns, b.ip) as traffic:
            for _ in range(2):
                bench.apply(two)
                bench.delete(two)
        assert traffic.lost == 0
        assert bench.plan(one).plan.steps == ()
    finally:
        bench.clear()


def test_a_netdev_that_comes_later_is_connected_by_the_next_apply(bench: Bench) -> None:
    """And again when it has gone and come back, with another index."""
    old = unique(example("simplebridge"))
    link = old["spec"]["links"].pop()
    bench.apply(old)
    try:
        assert [netdev for *_, netdev in bench.plan(old).plan.pending] == [link["name"]]
        for _ in range(2):
            with _made_by_hand(link):
                result = bench.apply(old)
                assert not result.plan.pending
                assert unreachable({"spec": {**old["spec"], "links": [*old["spec"]["links"], link]}}) == []
            assert link["name"] not in rtnl.links()
            bench.apply(old)
            assert bench.plan(old).plan.steps == ()
    finally:
        bench.clear()


@contextmanager
def _made_by_hand(link: Data) -> Iterator[None]:
    from reconciler.kernel import netlink
    from reconciler.model import Link, LinkEnd

    far = link["peer"]
    end = LinkEnd(far["name"], far["netns"], tuple(far["addresses"]), mac=far["mac"])
    with netlink.Netlink() as writer:
        writer.create_link(Link("veth", LinkEnd(link["name"]), end), 0)
        netlink.configure(end)
    try:
        yield
    finally:
        linkwrite.delete_link(link["name"])


def test_flow_counts_what_is_lost() -> None:
    """The measure itself: a flow to nowhere loses all of it."""
    with Flow(None, None, "127.0.0.1") as traffic:
        time.sleep(0.02)
    assert traffic.sent > 0
    assert traffic.lost == 0
    with Flow(None, None, "127.0.0.1", listen=False) as traffic:
        time.sleep(0.02)
    assert traffic.lost == traffic.sent > 0
