"""Polycube's spanning tree scenarios on a virtual clock, with the older protocol, the rapid one, and both mixed: C08, and every row of its
table. No bridge's ports ever make a loop on the way, and every state is reached in the time that the protocol promises."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.services.bridge.simulation import Network

OLD, RAPID = 50.0, 12.0  # seconds until all is settled; of the rapid one: two times two hellos for ports with nobody at the other end
SQUARE = {"br1": ["11", "42"], "br2": ["12", "21"], "br3": ["22", "31"], "br4": ["32", "41"]}


@dataclass(frozen=True)
class Row:
    """`changes`: what is done then, and what is blocking after it."""

    bridges: dict[str, list[str]]
    priorities: dict[str, int]
    blocking: set[str]
    changes: tuple[tuple[Callable[[Network], None], set[str]], ...] = ()


def without(**ports: list[str]) -> Callable[[Network], None]:
    def change(net: Network) -> None:
        for name, gone in ports.items():
            net.configure(name, [port for port in net.trees[name].settings.ports if port not in gone])

    return change


def with_ports(**ports: list[str]) -> Callable[[Network], None]:
    def change(net: Network) -> None:
        for name, new in ports.items():
            net.configure(name, [*net.trees[name].settings.ports, *new])

    return change


def priority(name: str, value: int) -> Callable[[Network], None]:
    return lambda net: net.configure(name, priority=value)


def both(*changes: Callable[[Network], None]) -> Callable[[Network], None]:
    def change(net: Network) -> None:
        for each in changes:
            each(net)

    return change


P3 = {"br1": 24576, "br2": 28672}
ROWS = {
    "x1 triangle": Row({"br1": ["11", "32"], "br2": ["12", "21"], "br3": ["22", "31"]}, P3, {"br3:22"},
                       ((without(br1=["32"], br3=["31"]), set()),)),
    "x2 parallel": Row({"br1": ["11", "32", "41"], "br2": ["12", "21", "42"], "br3": ["22", "31"]}, P3, {"br3:22", "br2:42"},
                       ((without(br1=["11"], br2=["12"]), {"br3:22"}), (without(br1=["32"], br3=["31"]), set()))),
    "x3 doubled": Row({"br1": ["11", "32", "41", "62"], "br2": ["12", "21", "42", "51"], "br3": ["22", "31", "52", "61"]}, P3,
                      {"br3:22", "br2:42", "br3:52", "br3:61"},
                      ((without(br1=["11", "32"], br2=["12", "21"], br3=["22", "31"]), {"br3:52"}),)),
    "x4 self loop": Row({"br1": ["11", "12"]}, {}, {"br1:12"},
                        ((both(without(br1=["11", "12"]), with_ports(br1=["12", "11"])), {"br1:11"}),)),
    "x5 square": Row({"br1": ["11", "42"], "br2": ["12", "21"], "br3": ["22", "31", "51"], "br4": ["32", "41", "52"]},
                     {"br1": 28672, "br2": 24576}, {"br4:32", "br4:52"},
                     ((without(br3=["51"], br4=["52"]), {"br4:32"}),
                      (with_ports(br2=["51"], br4=["52"]), {"br4:41", "br4:32"}),
                      (priority("br4", 36864), {"br4:41", "br4:32"}))),
    "x6 K4": Row({"br1": ["11", "42", "51"], "br2": ["12", "21", "61"], "br3": ["22", "31", "52"], "br4": ["32", "41", "62"]},
                 {"br1": 28672, "br2": 24576, "br4": 36864}, {"br3:52", "br4:32", "br4:41"},
                 ((without(br1=["42"], br4=["41"]), {"br3:52", "br4:32"}), (without(br2=["21"], br3=["22"]), {"br3:31"}))),
    "x7 square and triangle": Row({**SQUARE, "br2": ["12", "21", "51"], "br3": ["22", "31", "62"], "br5": ["52", "61"]},
                                  {"br1": 28672, "br2": 24576, "br4": 36864, "br5": 36864}, {"br4:32", "br5:61"},
                                  ((both(without(br2=["21"], br3=["22"]), priority("br4", 28672)), {"br3:31"}),)),
}  # fmt: skip
WAYS = {"older": (), "rapid": ("br1", "br2", "br3", "br4", "br5"), "mixed": ("br1", "br3", "br5"), "mixed the other way": ("br2", "br4")}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("row", ROWS)
def test_each_row_of_polycubes_table(row, way):
    said = ROWS[row]
    net = Network(said.bridges, said.priorities, rapid=WAYS[way])
    time = RAPID if way == "rapid" else OLD
    net.run(time)
    assert net.blocking() == said.blocking
    for change, blocking in said.changes:
        change(net)
        net.run(time)
        assert net.blocking() == blocking
        assert net.is_connected()
    assert net.loops == []


# Ports by the links that they are on: b1-b2 is link 1, b1-b3 2, b2-b3 3, b2-b4 4, b3-b4 5.
FOUR = {"b1": ["11", "21"], "b2": ["12", "31", "41"], "b3": ["22", "32", "51"], "b4": ["42", "52"]}
BY_VLAN = {
    14: ({"b1": 1, "b2": 10, "b3": 20, "b4": 40}, {"b3:32", "b4:52"}, {"b3:32"}),
    10: ({"b1": 40, "b2": 1, "b3": 20, "b4": 10}, {"b1:21", "b3:51"}, {"b1:21"}),
    45: ({"b1": 20, "b2": 10, "b3": 40, "b4": 1}, {"b1:21", "b3:32"}, {"b1:11"}),
}


@pytest.mark.parametrize("way", ["older", "rapid"])
@pytest.mark.parametrize("vlan", BY_VLAN)
def test_a_tree_for_each_vlan_has_its_own_root_and_goes_its_own_way(vlan, way):
    priorities, before, after = BY_VLAN[vlan]
    net = Network(FOUR, priorities, rapid=FOUR if way == "rapid" else ())
    net.run(OLD)
    assert net.blocking() == before
    without(b2=["41"], b4=["42"])(net)
    net.run(OLD)
    assert net.blocking() == after
    assert net.loops == []


def test_nothing_forwards_before_its_time_with_the_older_protocol():
    net = Network(ROWS["x1 triangle"].bridges, P3)
    net.run(14.9)
    assert set(net.states().values()) <= {"listening", "blocking"}
    net.run(0.3)
    assert "learning" in net.states().values()
    assert "forwarding" not in net.states().values()
    net.run(16)
    assert net.blocking() == {"br3:22"}


@pytest.mark.parametrize(("link", "noticed"), [("1", True), ("3", True), ("2", True)])
def test_the_rapid_protocol_goes_round_a_lost_link_at_once(link, noticed):
    net = Network(ROWS["x1 triangle"].bridges, P3, rapid=WAYS["rapid"])
    net.run(RAPID)
    net.cut(link, noticed=noticed)
    net.run(0.3)
    assert net.is_connected()
    assert net.blocking() == set()
    net.mend(link)
    net.run(5)
    assert net.blocking() == {"br3:22"}
    assert net.loops == []


def test_a_link_that_is_lost_unseen_is_found_out_after_three_hellos_or_when_what_was_heard_is_too_old():
    for rapid, soon, late in ((WAYS["rapid"], 3.0, 7.0), ((), 15.0, 55.0)):
        net = Network(ROWS["x1 triangle"].bridges, P3, rapid=rapid)
        net.run(OLD)
        net.cut("3", noticed=False)
        net.run(soon)
        assert not net.is_connected()
        net.run(late - soon)
        assert net.is_connected()
        assert net.loops == []


def test_an_edge_port_forwards_at_once_and_is_none_any_more_once_a_bridge_speaks_there():
    net = Network({"br1": ["11", "host"], "br2": ["12"]}, P3, rapid=("br1", "br2"), edges=("host", "11"))
    assert net.states()["br1:host"] == "forwarding"
    assert net.trees["br1"].ports["host"].edge
    net.run(1)
    assert not net.trees["br1"].ports["11"].edge
    net.run(5)
    assert net.blocking() == set()


def test_a_change_of_the_topology_makes_every_bridge_forget_and_a_hosts_edge_port_none():
    for rapid in ((), WAYS["rapid"]):
        net = Network({**ROWS["x1 triangle"].bridges, "br2": ["12", "21", "host"]}, P3, rapid=rapid, edges=("host",))
        net.run(OLD + 40)
        net.forgotten.clear()
        net.configure("br2", [port for port in net.trees["br2"].settings.ports if port != "host"])
        net.configure("br2", [*net.trees["br2"].settings.ports, "host"])
        net.run(OLD)
        net.forgotten.clear()
        net.cut("3")
        net.run(OLD)
        assert {name for _, name, _ in net.forgotten} >= {"br1", "br2", "br3"}


def test_no_more_is_said_than_a_hello_for_each_designated_port_once_all_is_quiet():
    for rapid in ((), WAYS["rapid"]):
        net = Network(ROWS["x6 K4"].bridges, ROWS["x6 K4"].priorities, rapid=rapid)
        net.run(100)
        before = net.sent
        net.run(20)
        assert net.sent - before == 6 * 10
