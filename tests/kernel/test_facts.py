"""Facts: rows follow netdevs, addresses and what workers publish, as they follow a file."""
from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from reconciler import pins
from reconciler.agent.following import facts_changed
from reconciler.kernel import linkwrite, rtnl
from reconciler.kernel.bpffs import Bpffs
from reconciler.kernel.netlink import Netlink
from reconciler.model import Link, LinkEnd
from reconciler.present.facts import facts_now
from tests.lib.agent_process import Bench
from tests.lib.lab import Lab, counts
from tests.lib.services import Tree, rx

TABLES = """
BPF_TABLE("array", u32, u64, world, 3);
BPF_TABLE("array", u32, u32, gate, 1);
BPF_TABLE("array", u32, u32, probe, 1);
"""
GATE = rx("""
  u32 zero = 0;
  u32 *open = gate.lookup(&zero), *seen = probe.lookup(&zero);
  if (!open || !seen || !world.lookup(&zero) || !*open)
    return RX_DROP;
  return pcn_pkt_redirect(ctx, md, md->in_port ^ 1);
""", TABLES)  # fmt: skip
HALF = """
import struct
from reconciler.service.sdk import TableRows

FACTS = ("netdevs", "addresses", "health")

def tables(config, env, tables):
    own = env.facts.get("netdevs", {}).get("own0")
    addresses = env.facts.get("addresses", {}).get("own0", [])
    health = env.facts.get("health", {"alive": True})
    said = [own["mtu"], own["carrier"], len(addresses)] if own else [0, 0, 0]
    return {
        "world": TableRows({struct.pack("<I", i): struct.pack("<Q", v) for i, v in enumerate(said)}, b"\\xff" * 8, sparse=True),
        "gate": TableRows({bytes(4): struct.pack("<I", health["alive"])}, b"\\xff" * 4, sparse=True),
    }

class SlowPath:
    def __init__(self, cube):
        self.cube, self.alive = cube, True
    def changed(self):
        self.cube.notify("facts", dict(self.cube.facts))
    def tick(self, now):
        said = self.cube.table("probe").get(bytes(4))
        if said != bytes(4):
            self.cube.publish_fact("health", {"alive": said == struct.pack("<I", 1)})
"""
PLAIN = rx("return pcn_pkt_redirect(ctx, md, md->in_port ^ 1);")
SCENARIO = """
hosts: {h1: 10.0.0.1/24, h2: 10.0.0.2/24, h3: 10.0.1.1/24, h4: 10.0.1.2/24}
cubes:
  - {name: c, service-name: gate, ports: [{name: p1, peer: v1}, {name: p2, peer: v2}]}
  - {name: other, service-name: deaf, ports: [{name: p1, peer: v3}, {name: p2, peer: v4}]}
"""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    tree = Tree(tmp_path / "services")
    tree.add("gate", [GATE], implementation=HALF)
    tree.add("deaf", [PLAIN], implementation="def tables(config, env, tables):\n    assert not env.facts\n    return {}\n")
    with ExitStack() as stack:
        lab = stack.enter_context(Lab(SCENARIO))
        lab.options.services = tree.load()
        lab.apply()
        yield lab
        linkwrite.delete_link("own0")


def netdev(mtu: int = 1500) -> None:
    with Netlink() as network:
        network.create_link(Link("veth", LinkEnd("own0", mtu=mtu), LinkEnd("own1")), 0)
    linkwrite.add_address("own0", None, "192.0.2.1/24")


def world(lab: Lab) -> list[int]:
    rows = lab.table("c", "world")
    return [int.from_bytes(rows[struct.pack("<I", row)], "little") for row in range(3)]


def probe(lab: Lab, value: int) -> None:
    lab.write("c", "probe", bytes(4), struct.pack("<I", value))


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def own_addresses() -> int:
    """Those of own0, by another reader."""
    return len(rtnl.addresses(None, rtnl.links()["own0"].index))


def test_what_an_apply_makes_is_a_fact_to_it(lab: Lab) -> None:
    lab.spec["links"] = [{"name": "own0", "kind": "veth", "mtu": 1400, "addresses": ["192.0.2.1/24"], "peer": {"name": "own1"}}]
    lab.apply()
    assert world(lab) == [1400, 1, own_addresses()]
    assert lab.apply().plan.steps == ()
    lab.spec["links"] = []
    lab.apply()


def test_an_apply_plans_with_the_facts_of_now_and_a_change_is_drift_until_it_is_planned(lab: Lab) -> None:
    assert world(lab) == [0, 0, 0]
    assert not lab.drift()
    netdev(1400)
    assert {change.address for change in lab.drift()} == {"cube/c/table/world"}
    assert counts(lab.apply()).program_loads == 0
    assert world(lab) == [1400, 1, own_addresses()]
    assert not lab.drift()
    assert not lab.apply().plan.steps
    linkwrite.set_link("own0", mtu=1450)
    linkwrite.add_address("own0", None, "192.0.2.7/32")
    lab.apply()
    assert world(lab) == [1450, 1, own_addresses()]


def test_a_cube_whose_service_wants_no_fact_is_not_planned_again(lab: Lab) -> None:
    cache = lab.options.kept.intended
    lab.drift()
    assert cache.graph is not None
    before = dict(cache.graph.parts)
    netdev()
    assert lab.drift()
    assert cache.graph.parts["other"] is before["other"]
    assert cache.graph.parts["c"] is not before["c"]


def test_what_is_not_wanted_is_not_read(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.spec["cubes"] = lab.spec["cubes"][1:]
    lab.apply()
    monkeypatch.setattr("reconciler.facts.addresses.of", lambda *_: pytest.fail("addresses were read"))
    assert lab.plan().session.facts == {}


def test_facts_are_listed_with_their_versions_and_with_who_wants_them(lab: Lab) -> None:
    netdev()
    Bpffs(lab.root).make_directory(pins.facts("c"))
    Bpffs(lab.root).set_link(pins.fact("c", "health"), '{"alive":false}')
    found = facts_now(lab.options)
    assert [(fact["name"], fact.get("cube")) for fact in found] == [
        ("netdevs", None), ("addresses", None), ("links", None), ("health", "c"),
    ]  # fmt: skip
    assert found[0]["wanted-by"] == ["c"]
    assert found[0]["value"]["own0"] == {"index": rtnl.links()["own0"].index, "kind": "veth", "mtu": 1500, "up": True,
                                         "carrier": True, "master": "", "mac": rtnl.links()["own0"].mac}  # fmt: skip
    assert found[2]["value"]["own0"] == "up"
    assert found[3]["value"] == {"alive": False}
    again = facts_now(lab.options)
    assert [fact["version"] for fact in again] == [fact["version"] for fact in found]
    linkwrite.add_address("own0", None, "192.0.2.9/32")
    changed = [old["name"] for old, new in zip(found, facts_now(lab.options), strict=True) if old["version"] != new["version"]]
    assert changed == ["addresses"]


def test_a_published_fact_that_is_damaged_counts_as_not_published(lab: Lab) -> None:
    Bpffs(lab.root).make_directory(pins.facts("c"))
    Bpffs(lab.root).set_link(pins.fact("c", "health"), "{no json")
    assert not lab.drift()
    assert lab.ok("h1", "10.0.0.2")


def test_an_agent_follows_facts_and_tells_the_worker(lab: Lab, tmp_path: Path) -> None:
    bench = Bench(lab, tmp_path)
    bench.save()
    with bench.agent("--services", str(tmp_path / "services")) as agent:
        netdev(1300)
        assert within(3, lambda: world(lab) == [1300, 1, own_addresses()])
        linkwrite.add_address("own0", None, "192.0.2.8/32")
        assert within(3, lambda: world(lab)[2] == own_addresses())

        def told() -> list[str]:
            published = agent.status()["slow_path"]["published"].get("c", {}).get("facts", {})
            return published.get("addresses", {}).get("own0", [])

        assert within(3, lambda: "192.0.2.8/32" in told())


def test_what_a_worker_publishes_is_planned_with_and_outlives_worker_and_agent(lab: Lab, tmp_path: Path) -> None:
    bench = Bench(lab, tmp_path)
    bench.save()
    assert lab.ok("h1", "10.0.0.2")
    with bench.agent("--services", str(tmp_path / "services")):
        probe(lab, 2)
        assert within(3, lambda: lab.table("c", "gate")[bytes(4)] == bytes(4))
        assert lab.fails("h1", "10.0.0.2")
        assert lab.ok("h3", "10.0.1.2")
    assert not lab.drift()
    assert not lab.apply().plan.steps  # without an agent, the last published counts
    with bench.agent("--services", str(tmp_path / "services")):
        probe(lab, 1)
        assert within(3, lambda: lab.ok("h1", "10.0.0.2", 1))
    assert not lab.drift()


def test_a_cube_made_anew_gets_what_its_worker_published_again(lab: Lab, tmp_path: Path) -> None:
    bench = Bench(lab, tmp_path)
    bench.save()
    path = pins.fact("c", "health")
    with bench.agent("--services", str(tmp_path / "services")):
        probe(lab, 2)
        assert within(3, lambda: Bpffs(lab.root).read_link(path) == '{"alive":false}')
        Bpffs(lab.root).remove(pins.facts("c"))
        assert within(3, lambda: Bpffs(lab.root).read_link(path) == '{"alive":false}')
        assert within(3, lambda: lab.table("c", "gate")[bytes(4)] == bytes(4))


def test_no_heal_follows_facts_and_leaves_drift(lab: Lab, tmp_path: Path) -> None:
    bench = Bench(lab, tmp_path)
    bench.save()
    with bench.agent("--services", str(tmp_path / "services"), "--no-heal") as agent:
        netdev(1300)
        assert within(3, lambda: world(lab)[0] == 1300)
        agent.poll()
        lab.write("c", "world", bytes(4), struct.pack("<Q", 7))
        agent.until(lambda said: bool(said["drift"]))
        assert world(lab)[0] == 7


def test_a_fact_that_is_not_declared_is_refused_with_a_log_line(lab: Lab, tmp_path: Path) -> None:
    half = HALF.replace('"addresses", "health")', '"addresses")')
    (tmp_path / "services" / "gate.py").write_text(half)
    bench = Bench(lab, tmp_path)
    bench.save()
    with bench.agent("--services", str(tmp_path / "services")) as agent:
        probe(lab, 2)
        assert within(3, lambda: "not among the FACTS" in agent.text())
    assert Bpffs(lab.root).read_link(pins.fact("c", "health")) is None


def test_the_command_prints_facts(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    from reconciler.cli.main import main

    netdev()
    services = str(lab.options.services.directories[0])
    assert main(["show", "--facts", "-o", "json", "--bpffs", lab.root, "--services", services]) == 0
    assert "own0" in json.loads(capsys.readouterr().out)[0]["value"]
    assert main(["show", "--facts", "--state", "--bpffs", lab.root]) == 64


def test_a_change_of_what_nobody_planned_with_is_none() -> None:
    assert not facts_changed({})
