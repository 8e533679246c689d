"""A cube of 256 ports: each leads where it should, by its own egress program, by flooding, and into the next cube."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.errors import DocumentError
from tests.lib.lab import HOOKS, Lab, own_counts
from tests.lib.services import Tree, rx
from tests.upgrade.traffic import Traffic, udp

PORTS = 256
LAST = 383  # the number of the last of them
# What comes in at a port leaves by the one whose number, plus one, the table says; where it says none, it is flooded.
SWITCH = """
  u32 port = md->in_port;
  u32 *to = across.lookup(&port);
  if (!to)
    return RX_DROP;
  return *to ? pcn_pkt_redirect(ctx, md, *to - 1) : pcn_pkt_flood(ctx, md);"""
TABLE = 'BPF_TABLE("array", u32, u32, across, PCN_MAX_PORTS);'
COUNT = "u32 port = md->in_port;\nu64 *seen = gone.lookup(&port);\nif (seen)\n  __sync_fetch_and_add(seen, 1);\nreturn RX_OK;"
EGRESS = rx(COUNT, 'BPF_TABLE("array", u32, u64, gone, PCN_MAX_PORTS);')
HOSTS = {"h1": "10.0.0.1/24", "h2": "10.0.0.2/24", "h3": "10.0.0.3/24"}
PLACES = {1: "v1", 130: "v2", PORTS: "v3"}  # which ports lead to a netdev


def spec(peers: dict[int, str], ports: int = PORTS) -> list[dict[str, Any]]:
    named = [{"name": f"p{number}", **({"peer": peers[number]} if number in peers else {})} for number in range(1, ports + 1)]
    return [{"name": "big", "service-name": "wide", "ports": named}]


def wide(lab: Lab, tree: Tree, most: int) -> None:
    """The service, of so many ports."""
    tree.add("wide", [rx(SWITCH, TABLE)], [EGRESS], max_ports=most, floods="true")
    lab.options.services = tree.load()


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    made = Tree(tmp_path / "services")
    made.add("wire", [rx("return pcn_pkt_redirect(ctx, md, md->in_port ^ 1);")])
    return made


@pytest.fixture(params=HOOKS)
def lab(request: pytest.FixtureRequest, tree: Tree) -> Iterator[Lab]:
    with Lab("{hosts: {}, cubes: []}", hook=request.param) as found:
        found.hosts = dict(HOSTS)
        wide(found, tree, PORTS)
        yield found


def lead(lab: Lab, ways: dict[int, int]) -> None:
    """Packets of a port by a port."""
    for source, to in ways.items():
        lab.write("big", "across", struct.pack("<I", source), struct.pack("<I", to + 1))


def left(lab: Lab) -> set[int]:
    """The numbers of the ports by which packets left through their egress program."""
    return {struct.unpack("<I", key)[0] for key, value in lab.table("big", "gone").items() if any(value)}


def test_256_ports_are_flooded_and_forwarded_to_and_each_has_its_egress_program(lab: Lab) -> None:
    lab.spec["cubes"] = spec(PLACES)
    lab.apply()
    assert lab.plan().plan.steps == ()
    assert not lab.drift()
    assert [port["name"] for port in lab.live_cube("big")["ports"]] == [f"p{number}" for number in range(1, PORTS + 1)]
    for host in HOSTS:  # all of it flooded
        for address in ("10.0.0.1", "10.0.0.2", "10.0.0.3"):
            assert host == f"h{address[-1]}" or lab.ok(host, address)
    if lab.hook == "TC":  # XDP's broadcast goes straight to the netdevs
        assert left(lab) == {0, 257, LAST}
    lead(lab, {0: LAST, LAST: 0})
    assert lab.ok("h1", "10.0.0.3")
    assert lab.fails("h2", "10.0.0.1")
    assert left(lab) >= {0, LAST}
    lead(lab, {0: 300})
    before = lab.drops("big").get("NO_PEER", 0)
    assert lab.fails("h1", "10.0.0.3")
    assert lab.drops("big")["NO_PEER"] > before


def test_a_port_beyond_the_128th_leads_into_the_next_cube_and_moves_alone(lab: Lab) -> None:
    lab.spec["cubes"] = [
        *spec({1: "v1", 130: "v2", 200: "far:a"}),
        {"name": "far", "service-name": "wire", "ports": [{"name": "a", "peer": "big:p200"}, {"name": "b", "peer": "v3"}]},
    ]
    lab.apply()
    number = 199 + 128
    lead(lab, {0: number, number: 0, 257: 0})
    assert lab.ok("h1", "10.0.0.3")
    loaded = lab.loaded("big")
    lab.port("big", "p130").pop("peer")
    lab.port("big", "p131")["peer"] = "v2"
    assert own_counts(lab.apply()).program_loads == 0
    assert lab.loaded("big") == loaded
    lead(lab, {0: 258, 258: 0})
    assert lab.ok("h1", "10.0.0.2")
    assert not lab.drift()


@pytest.mark.parametrize("lab", ["TC"], indirect=True)
def test_a_port_more_than_that_is_refused(lab: Lab) -> None:
    lab.spec["cubes"] = spec(PLACES, PORTS + 1)
    with pytest.raises(DocumentError, match="at most 256"):
        lab.plan()


def test_a_live_cube_of_a_service_that_asks_for_more_ports_is_replaced_and_no_packet_is_lost(lab: Lab, tree: Tree) -> None:
    wide(lab, tree, 128)
    lab.spec["cubes"] = spec({1: "v1", 2: "v2", 3: "v3"}, 3)
    lab.apply()
    assert lab.ok("h1", "10.0.0.2")
    wide(lab, tree, PORTS)
    flows = Traffic([udp(lab.space("h1"), lab.space("h2"), "10.0.0.2"), udp(lab.space("h3"), lab.space("h1"), "10.0.0.1")])
    try:
        flows.start()
        result = lab.apply()
        flows.stop()
        assert flows.losses() == []
    finally:
        flows.close()
    assert str(result.plan.disruption) == "state reset"
    assert lab.plan().plan.steps == ()
    lab.spec["cubes"] = spec({1: "v1", 2: "v2", PORTS: "v3"})
    lab.apply()
    assert lab.ok("h1", "10.0.0.3")
