"""What a host has at its netdevs, as plans ask before a cube takes one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from reconciler.cli.lockouts import problems
from reconciler.facts.own import OwnNetdev, of, routes_of
from reconciler.kernel.netstate import AddressState, NetdevState, RouteState
from reconciler.plan.steps import Lockout


def netdev(name: str, index: int, **more: Any) -> NetdevState:
    state = NetdevState(name, index, "", "", 1500, True, True, 0, "", 0, None, 0, None)
    return replace(state, **more)


ETH0, ETH1 = netdev("eth0", 2), netdev("eth1", 3, master=9)
STATES = {each.name: each for each in (ETH0, ETH1, netdev("eth0.7", 4, kind="vlan", peer_index=2), netdev("br0", 9, kind="bridge"))}
ADDRESSES = [AddressState(2, "fe80::1/64", True), AddressState(4, "192.0.2.1/24", False), AddressState(4, "2001:db8::1/64", True), AddressState(9, "10.0.0.1/8", False)]
DEFAULT = RouteState(4, "0.0.0.0/0", "192.0.2.9", 0, True)


def test_of_a_netdev_are_the_addresses_of_vlans_on_it_its_master_and_the_default_route() -> None:
    found = of(["eth0", "eth1", "gone"], STATES, ADDRESSES, [DEFAULT])
    assert found == {"eth0": OwnNetdev(("192.0.2.1/24", "2001:db8::1/64"), "", True), "eth1": OwnNetdev((), "br0", False)}
    assert [str(own) for own in found.values()] == ["has 192.0.2.1/24, 2001:db8::1/64 and has the default route", "is part of br0"]


def test_a_link_local_address_of_ipv6_or_the_other_end_of_a_veth_does_not_count() -> None:
    other = netdev("v", 5, kind="veth", peer_index=2)
    assert of(["eth0"], {"eth0": ETH0, "v": other}, [ADDRESSES[0], AddressState(5, "10.1.1.1/24", False)], []) == {}
    elsewhere = netdev("w", 6, kind="vlan", peer_index=2, peer_netnsid=1)
    assert of(["eth0"], {"eth0": ETH0, "w": elsewhere}, [AddressState(6, "10.1.1.1/24", False)], []) == {}


def test_a_vlan_on_a_vlan_and_one_that_is_part_of_a_bridge_are_the_hosts_too() -> None:
    tagged, inner = netdev("eth0.7", 4, kind="vlan", peer_index=2, master=9), netdev("in", 5, kind="vlan", peer_index=4)
    states = {each.name: each for each in (ETH0, tagged, inner, netdev("br0", 9, kind="bridge"))}
    found = of(["eth0", "eth0.7"], states, [AddressState(5, "192.0.2.1/24", False)], [])
    assert str(found["eth0"]) == "has 192.0.2.1/24 and is part of br0 with eth0.7"
    assert str(found["eth0.7"]) == "has 192.0.2.1/24 and is part of br0"
    asked: list[int] = []
    routes_of(["eth0"], states, lambda _, index: asked.append(index) or [])  # type: ignore[func-returns-value]
    assert asked == [2, 4, 5]


def test_routes_are_asked_for_by_netdev() -> None:
    asked: list[int] = []
    routes_of(["eth0", "gone"], STATES, lambda _, index: asked.append(index) or [])  # type: ignore[func-returns-value]
    assert asked == [2, 4]


def test_the_warning_names_the_way_out_where_there_is_one() -> None:
    lockout = Lockout("eth0", ("192.0.2.1/24",), "cube br1 takes netdev eth0, which has 192.0.2.1/24")
    (plain,) = problems([lockout], came="")
    assert (plain.message, plain.severity) == (f"this may lock you out: {lockout.sentence}", "warning")
    assert "--try 60" in str(plain.hint)
    assert [str(each.hint) for each in (*problems([lockout], trial=True, came=""), *problems([lockout], can_try=False, came=""))] == ["", ""]
    (ours,) = problems([lockout], came="203.0.113.5 50000 192.0.2.1 22")
    assert ours.message.endswith(" (your SSH from 203.0.113.5 comes to 192.0.2.1)")
    assert problems([lockout], came="203.0.113.5 50000 192.0.2.11 22") == problems([lockout], came="")
