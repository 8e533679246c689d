"""Cubes that run as one program: real packets through it, and everything that says what the cubes are and do."""
from __future__ import annotations

import json
import os
import struct
from itertools import count as numbers

import pytest

from reconciler.engine.reload import reload
from reconciler.errors import PcnError
from reconciler.kernel import bpf, maps, programs
from reconciler.kernel.bpffs import Bpffs
from reconciler.plan.steps import PROGRAM_LOADS
from tests.faults.flow import Flow
from tests.lib.frames import H1, H2, ethernet
from tests.lib.lab import HOOKS, Lab
from tests.lib.services import rx

HOSTS = {"h1": "10.0.0.1/24", "h2": "10.0.0.2/24"}
ALL_THE_WAY = [{"inport": "a", "action": "FORWARD", "outport": "b"}, {"inport": "b", "action": "FORWARD", "outport": "a"}]
LEAVES = {"helloworld": {"action": "FORWARD"}, "simpleforwarder": {"actions": ALL_THE_WAY}, "simplebridge": {}}


@pytest.fixture(autouse=True)
def _linked(request):
    if request.config.getoption("--hops"):
        pytest.skip("is about cubes that are linked")


@pytest.fixture(params=HOOKS)
def hook(request):
    return request.param


def cube(number: int, last: int, service: str = "helloworld", **leaves) -> dict:
    """One of a row of cubes; port a is nearer to h1."""
    near = "v1" if number == 1 else f"c{number - 1}:b"
    far = "v2" if number == last else f"c{number + 1}:a"
    ports = [{"name": "a", "peer": near}, {"name": "b", "peer": far}]
    return {"name": f"c{number}", "service-name": service, **LEAVES[service], "ports": ports, **leaves}


def row(last: int, service: str = "helloworld", **leaves) -> str:
    return json.dumps({"hosts": HOSTS, "cubes": [cube(number, last, service, **leaves) for number in range(1, last + 1)]})


def linked(lab: Lab) -> dict[str, str]:
    """The cubes of each chain that is wanted, by the pin of its program. Under XDP the last one's egress program is in it too."""
    state = lab.plan().session.desired.state
    chains = {stub.path: list(dict.fromkeys(part.cube for part in stub.parts)) for stub in state.values() if getattr(stub, "parts", ())}
    return {path: " ".join(cubes) for path, cubes in chains.items() if len(cubes) > 1}


def is_whole(lab: Lab) -> bool:
    return not lab.plan().plan.steps and not lab.drift()


@pytest.mark.parametrize("service", ["helloworld", "simpleforwarder"])
@pytest.mark.parametrize("last", [2, 3, 8])
def test_a_row_of_cubes_is_one_program_each_way(hook, service, last):
    with Lab(row(last, service), hook=hook) as lab:
        lab.apply()
        names = [f"c{number}" for number in range(1, last + 1)]
        assert linked(lab) == {"cubes/c1/in/0_a": " ".join(names), f"cubes/c{last}/in/1_b": " ".join(names[::-1])}
        between = [(number, 1) for number in range(1, last)] + [(number, 0) for number in range(2, last + 1)]
        for number, way in between:  # nothing goes by the hops between cubes
            with Bpffs(lab.root).opened(f"cubes/c{number}/hops") as hops:
                maps.update(hops, struct.pack("<I", way), bytes(8))
        assert lab.ok("h1", "10.0.0.2")
        assert {change.address for change in lab.drift()} == {f"cube/c{number}/hop/{way}" for number, way in between}
        lab.apply()
        assert is_whole(lab)


def test_a_long_row_is_linked_as_far_as_a_program_may_have_maps(hook):
    with Lab(row(18), hook=hook) as lab:
        lab.apply()
        chains = linked(lab)
        assert len(chains) == 4
        assert sorted(" ".join(chains.values()).split()) == sorted([f"c{number}" for number in range(1, 19)] * 2)
        assert lab.ok("h1", "10.0.0.2")
        assert is_whole(lab)


def test_bridges_in_a_row_are_linked_and_learn_and_flood(hook):
    with Lab(row(3, "simplebridge"), hook=hook) as lab:
        lab.apply()
        assert linked(lab)["cubes/c1/in/0_a"] == "c1 c2 c3"
        assert lab.ok("h1", "10.0.0.2")
        assert [len(lab.table(f"c{number}", "fwdtable")) for number in (1, 2, 3)] == [2, 2, 2]
        assert is_whole(lab)


def test_transparent_cubes_on_ports_and_netdevs_are_linked_with_what_they_sit_on(hook):
    scenario = json.loads(row(2))
    scenario["cubes"][0]["ports"][0]["tcubes"] = ["t1", "t2"]
    scenario["cubes"] += [{"name": name, "service-name": "transparenthelloworld"} for name in ("t1", "t2", "t3")]
    scenario["attachments"] = [{"netdev": "v2", "tcubes": ["t3"]}]
    with Lab(json.dumps(scenario), hook=hook) as lab:
        lab.apply()
        chains = linked(lab)
        assert chains["cubes/t1/in/0_wire"].startswith("t1 t2 c1 c2")
        assert chains["cubes/t3/in/0_wire"].startswith("t3 c2 c1")
        assert lab.ok("h1", "10.0.0.2")
        lab.cube("t2")["ingress-action"] = "DROP"
        lab.apply()
        assert lab.fails("h1", "10.0.0.2")
        assert sum(lab.drops("t2").values())
        assert not lab.drops("t1")
        assert not lab.drops("c1")
        assert is_whole(lab)


@pytest.mark.parametrize(("action", "verdict", "drops"), [("DROP", "drop", {"POLICY": 1}), ("SLOWPATH", "drop", {"NO_SLOWPATH": 1}), ("FORWARD", "redirect", {})])
def test_the_verdict_of_a_cube_in_the_middle_is_that_of_the_chain_and_counted_at_that_cube(hook, action, verdict, drops):
    with Lab(row(3), hook=hook) as lab:
        lab.cube("c2")["action"] = action
        lab.apply()
        assert lab.run("cubes/c1/in/0_a", ethernet(H1, H2)) == verdict
        assert [lab.drops(name) for name in ("c1", "c2", "c3")] == [{}, drops, {}]


def test_a_chain_that_ends_nowhere_drops_at_its_last_cube(hook):
    with Lab(row(3), hook=hook) as lab:
        del lab.port("c3", "b")["peer"]
        lab.apply()
        assert lab.run("cubes/c1/in/0_a", ethernet(H1, H2)) == "drop"
        assert [lab.drops(name) for name in ("c1", "c2", "c3")] == [{}, {}, {"NO_PEER": 1}]


def test_each_cube_of_a_chain_logs_under_its_own_name_and_port(hook):
    with Lab(row(2, loglevel="TRACE"), hook=hook) as lab:
        lab.apply()
        with lab.logged() as said:
            lab.run("cubes/c1/in/0_a", ethernet(H1, H2))
        assert [words.split(":")[0] for words in said if "Receiving" in words] == ["c1", "c2"]
        assert all(words.endswith("port a") for words in said if "Receiving" in words)


def test_a_branching_cube_ends_a_chain_and_what_follows_begins_new_ones(hook):
    """What comes to c1 from h1 may go on to c2 or to c4, so it goes by hops; what comes from c2 goes on to c4, or to h1."""
    scenario = json.loads(row(3, "simpleforwarder"))
    scenario["cubes"][0]["ports"].append({"name": "c", "peer": "c4:a"})
    scenario["cubes"].append({"name": "c4", "service-name": "simpleforwarder", "actions": ALL_THE_WAY, "ports": [{"name": "a"}, {"name": "b"}]})
    with Lab(json.dumps(scenario), hook=hook) as lab:
        lab.apply()
        assert linked(lab) == {"cubes/c2/in/0_a": "c2 c3", "cubes/c3/in/1_b": "c3 c2 c1 c4", "cubes/c4/in/1_b": "c4 c1 c2 c3"}
        assert lab.ok("h1", "10.0.0.2")


def test_a_ring_is_linked_up_to_where_it_closes_and_a_packet_may_pass_a_cube_twice(hook):
    """In at c1:a, round by c2 and c3, and out at c1:d."""
    ways = {"a": "b", "b": "a", "c": "d", "d": "c"}
    four = [{"inport": one, "action": "FORWARD", "outport": other} for one, other in ways.items()]
    peers = {"a": "v1", "b": "c2:a", "c": "c3:b", "d": "v2"}
    scenario = json.loads(row(3, "simpleforwarder"))
    scenario["cubes"][0] |= {"actions": four, "ports": [{"name": name, "peer": peer} for name, peer in peers.items()]}
    scenario["cubes"][2]["ports"][1]["peer"] = "c1:c"
    with Lab(json.dumps(scenario), hook=hook) as lab:
        lab.apply()
        assert linked(lab) == {"cubes/c2/in/0_a": "c2 c3 c1", "cubes/c3/in/1_b": "c3 c2 c1"}
        assert lab.ok("h1", "10.0.0.2")
        assert is_whole(lab)


def test_fuse_false_keeps_a_cube_apart_and_nothing_else_differs(hook):
    with Lab(row(5), hook=hook) as lab:
        lab.apply()
        before = lab.live()
        lab.cube("c3")["fuse"] = False
        with Flow(lab.space("h1"), lab.space("h2"), "10.0.0.2") as traffic:
            lab.apply()
        assert traffic.lost == 0
        assert linked(lab) == dict(zip(
            ("cubes/c1/in/0_a", "cubes/c4/in/0_a", "cubes/c5/in/1_b", "cubes/c2/in/1_b"), ("c1 c2", "c4 c5", "c5 c4", "c2 c1"), strict=True))
        assert is_whole(lab)
        live = lab.live()
        assert next(each for each in live["cubes"] if each["name"] == "c3").pop("fuse") is False
        assert live == before
        del lab.cube("c3")["fuse"]
        with Flow(lab.space("h1"), lab.space("h2"), "10.0.0.2") as traffic:
            lab.apply()
        assert traffic.lost == 0
        assert len(linked(lab)) == 2
        assert is_whole(lab)


def test_a_topology_can_say_no_for_all_its_cubes(hook):
    with Lab(row(3), hook=hook) as lab:
        lab.spec["fuse"] = False
        lab.apply()
        assert linked(lab) == {}
        assert lab.ok("h1", "10.0.0.2")
        assert is_whole(lab)
        before = lab.live()
        assert before.pop("fuse") is False
        del lab.spec["fuse"]
        result = lab.apply()
        assert result.plan.total(PROGRAM_LOADS) == 2
        assert len(linked(lab)) == 2
        assert lab.ok("h1", "10.0.0.2")
        assert lab.live() == before


def test_an_edit_of_one_cube_loads_its_program_and_its_chains_and_loses_nothing(hook):
    with Lab(row(8), hook=hook) as lab:
        lab.apply()
        untouched = {name: lab.loaded(name) for name in ("c2", "c3", "c5")}
        lab.cube("c4")["loglevel"] = "WARN"
        with Flow(lab.space("h1"), lab.space("h2"), "10.0.0.2") as traffic:
            result = lab.apply()
            lab.cube("c4")["loglevel"] = "OFF"
            lab.apply()
        assert traffic.lost == 0
        loads = [step.address for step in result.plan.steps if step.counts == PROGRAM_LOADS]
        ways = ["stub/cubes/c1/in/0_a", "stub/cubes/c8/in/1_b"]
        assert [address for address in loads if "egress" not in address] == ["cube/c4/program/ingress_0", *ways]
        assert {name: lab.loaded(name) for name in untouched} == untouched
        assert is_whole(lab)


def test_a_peer_that_changes_links_anew_and_one_that_is_a_netdev_loads_nothing(hook):
    scenario = json.loads(row(2))
    scenario["hosts"]["h3"] = "10.0.0.2/24"
    with Lab(json.dumps(scenario), hook=hook) as lab:
        lab.apply()
        lab.spec["cubes"].append(cube(3, 3))
        lab.port("c2", "b")["peer"] = "c3:a"
        lab.apply()
        assert linked(lab)["cubes/c1/in/0_a"] == "c1 c2 c3"
        assert lab.ok("h1", "10.0.0.2")
        assert is_whole(lab)
        before = {name: lab.loaded(name) for name in ("c1", "c2", "c3")}
        lab.port("c3", "b")["peer"] = "v3"
        assert lab.apply().plan.total(PROGRAM_LOADS) == 0
        assert {name: lab.loaded(name) for name in before} == before
        assert lab.ok("h3", "10.0.0.1")
        assert is_whole(lab)


def test_a_cube_that_goes_lets_its_neighbours_be_linked_without_it(hook):
    with Lab(row(3), hook=hook) as lab:
        lab.apply()
        lab.spec["cubes"] = [cube(1, 2), {**cube(3, 3), "ports": [{"name": "a", "peer": "c1:b"}, {"name": "b", "peer": "v2"}]}]
        lab.spec["cubes"][0]["ports"][1]["peer"] = "c3:a"
        lab.apply()
        assert linked(lab) == {"cubes/c1/in/0_a": "c1 c3", "cubes/c3/in/1_b": "c3 c1"}
        assert lab.ok("h1", "10.0.0.2")
        assert is_whole(lab)


def another(lab: Lab) -> None:
    kind = bpf.SCHED_CLS if lab.hook == "TC" else bpf.XDP
    fd = programs.load(struct.pack("<BBhiBBhi", 0xB7, 0, 0, 2, 0x95, 0, 0, 0), kind, "stranger")
    root = Bpffs(lab.root)
    root.remove("cubes/c1/in/0_a")
    root.pin(fd, "cubes/c1/in/0_a")
    os.close(fd)


def an_older_chain(lab: Lab) -> None:
    """The chain of the other end in this one's place: linked by pcn, of other parts."""
    root = Bpffs(lab.root)
    with root.opened("cubes/c3/in/1_b") as fd:
        root.remove("cubes/c1/in/0_a")
        root.pin(fd, "cubes/c1/in/0_a")


def no_pin(lab: Lab) -> None:
    Bpffs(lab.root).remove("cubes/c1/in/0_a")


def a_table_of_another_cube(lab: Lab) -> None:
    Bpffs(lab.root).remove("cubes/c2/next")


@pytest.mark.parametrize("damage", [another, an_older_chain, no_pin, a_table_of_another_cube])
def test_damage_to_a_chain_is_drift_and_is_healed(hook, damage):
    with Lab(row(3), hook=hook) as lab:
        lab.apply()
        damage(lab)
        assert lab.drift()
        with Flow(lab.space("h1"), lab.space("h2"), "10.0.0.2") as traffic:
            lab.apply()
        assert traffic.lost == 0
        assert is_whole(lab)
        assert lab.ok("h1", "10.0.0.2")


def test_a_fault_at_any_step_of_linking_anew_undoes_it_all(hook):
    """The edit makes a chain longer and exchanges a cube of it."""
    with Lab(row(3), hook=hook) as lab:
        lab.apply()
        tables = [f"cubes/c{number}/{name}" for number in (1, 2, 3) for name in ("hops", "next", "entry")]

        def picture() -> object:
            return lab.hooked(), {name: lab.loaded(name) for name in ("c1", "c2", "c3")}, [lab.reader().rows(path) for path in tables]

        before = picture()
        lab.cube("c2")["loglevel"] = "WARN"
        for stop in numbers():
            staged = [step for step in lab.plan().plan.steps if step.rank.phase != "retire"]
            if stop == len(staged):
                break

            def fail(number, step, stop=stop):
                if number == stop:
                    raise PcnError("on purpose")

            lab.options.before = fail
            with pytest.raises(PcnError, match="on purpose"):
                lab.apply()
            assert picture() == before, staged[stop]
        lab.options.before = None
        assert stop > 10
        assert lab.ok("h1", "10.0.0.2")


def test_new_code_for_a_cube_of_a_chain_runs_in_the_chain(hook):
    with Lab(row(3), hook=hook) as lab:
        lab.apply()
        assert lab.ok("h1", "10.0.0.2")
        reload("c2", rx("return RX_DROP;"), 0, options=lab.options)
        assert lab.fails("h1", "10.0.0.2")
        assert sum(lab.drops("c2").values())
        lab.apply()
        assert lab.ok("h1", "10.0.0.2")


def test_what_the_slow_path_or_a_neighbour_sends_into_the_middle_goes_on_by_hops(hook):
    with Lab(row(3), hook=hook) as lab:
        lab.apply()
        assert lab.run("cubes/c2/in/0_a", ethernet(H1, H2)) == "redirect"
        assert lab.run("cubes/c2/in/1_b", ethernet(H2, H1)) == "redirect"
        with Bpffs(lab.root).opened("cubes/c3/next") as ahead:
            maps.delete(ahead, struct.pack("<I", 0))
        assert lab.run("cubes/c3/in/0_a", ethernet(H1, H2)) == "redirect"
