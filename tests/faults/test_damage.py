"""Damage from outside: drift names what was damaged, the next apply heals it, traffic flows again, and what was learned or
counted is kept wherever it was not itself what was damaged."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.kernel import bpf, linkwrite, maps, netns
from reconciler.model import Route
from tests.faults.damaged import (
    BARRED,
    Rig,
    another_map,
    detach,
    erase,
    flip,
    lose,
    number,
    opened,
    put_in_place,
    rig,
    stranger,
    v4,
    write,
)

Damage = Callable[[Rig], str]
"""Does it, and gives the address that drift is to name, with '*' for the tag."""


def a_row_is_changed(r: Rig) -> str:
    write(r.path("cubes/br/tables/fdb_config"), number(0), number(7))
    return "cube/*br/table/fdb_config"


def a_row_is_added(r: Rig) -> str:
    write(r.path("cubes/guard/tables/srcblacklist"), v4("10.8.0.2"), struct.pack("<Q", 0))
    return "cube/*guard/table/srcblacklist"


def a_row_is_deleted(r: Rig) -> str:
    erase(r.path("cubes/guard/tables/srcblacklist"), v4("192.0.2.67"))
    return "cube/*guard/table/srcblacklist"


def a_static_station_is_deleted(r: Rig) -> str:
    erase(r.path("cubes/br/tables/fdb_static"), bytes.fromhex("0200000000990000"))
    return "cube/*br/table/fdb_static"


def an_action_is_added(r: Rig) -> str:
    write(r.path("cubes/fwd/tables/actions"), number(5), struct.pack("<HH", 3, 0))
    return "cube/*fwd/table/actions"


def an_action_is_zeroed(r: Rig) -> str:
    write(r.path("cubes/fwd/tables/actions"), number(0), bytes(4))
    return "cube/*fwd/table/actions"


def the_entry_leads_to_another_program(r: Rig) -> str:
    with stranger() as program:
        write(r.path("cubes/br/entry"), number(0), number(program))
    return "cube/*br/program/ingress_0"


def the_entry_is_cleared(r: Rig) -> str:
    erase(r.path("cubes/br/entry"), number(0))
    return "cube/*br/program/ingress_0"


def the_program_s_pin_is_another_s(r: Rig) -> str:
    with stranger() as program:
        put_in_place(program, r.path("cubes/br/g1/ingress_0"))
    return "cube/*br/program/ingress_0"


def a_stub_s_pin_is_another_s(r: Rig) -> str:
    with stranger() as program:
        put_in_place(program, r.path("cubes/br/in/0_p1"))
    return "stub/cubes/*br/in/0_p1"


def a_way_out_s_pin_is_another_s(r: Rig) -> str:
    with stranger() as program:
        put_in_place(program, r.path("cubes/watch/out/1_inner"))
    return "stub/cubes/*watch/out/1_inner"


def a_config_table_s_pin_is_another_s(r: Rig) -> str:
    another_map(r.path("cubes/br/tables/fdb_config"))
    return "cube/*br/table/fdb_config"


def a_state_table_s_pin_is_another_s(r: Rig) -> str:
    another_map(r.path("cubes/br/tables/fwdtable"))
    return "cube/*br/table/fwdtable"


def the_hops_pin_is_another_s(r: Rig) -> str:
    another_map(r.path("cubes/br/hops"))
    return "cube/*br/table/hops"


def the_entry_s_pin_is_another_s(r: Rig) -> str:
    another_map(r.path("cubes/br/entry"))
    return "cube/*br/program/ingress_0"


def the_next_s_pin_is_another_s(r: Rig) -> str:
    another_map(r.path("cubes/br/next"))
    return "cube/*br/table/next"


def a_hop_leads_nowhere(r: Rig) -> str:
    write(r.path("cubes/br/hops"), number(0), struct.pack("<II", 0, 0))
    return "cube/*br/hop/0"


def a_hop_leads_elsewhere(r: Rig) -> str:
    write(r.path("cubes/fwd/hops"), number(1), struct.pack("<II", 2, r.index(1)))
    return "cube/*fwd/hop/1"


def a_jump_is_cleared(r: Rig) -> str:
    erase(r.path("cubes/br/next"), number(2))
    return "cube/*br/hop/2"


def a_jump_leads_to_another_program(r: Rig) -> str:
    with stranger() as program:
        write(r.path("cubes/br/next"), number(2), number(program))
    return "cube/*br/hop/2"


def a_member_is_removed_from_flooding(r: Rig) -> str:
    write(r.path("cubes/br/flood"), number(0), struct.pack("<III", 1, 0, 0))
    return "cube/*br/member/0"


def a_member_is_another_netdev(r: Rig) -> str:
    write(r.path("cubes/br/flood"), number(0), struct.pack("<III", 2, r.index(3), 0))
    return "cube/*br/member/0"


def a_hook_leads_to_another_program(r: Rig) -> str:
    with stranger() as program, opened(r.path("links/1/tcx_ingress")) as link:
        bpf.link_update(link, program, None)
    return "hook/*1/tcx_ingress"


def a_hook_is_detached(r: Rig) -> str:
    detach(r.path("links/1/tcx_ingress"))
    return "hook/*1/tcx_ingress"


def an_egress_hook_is_detached(r: Rig) -> str:
    detach(r.path("links/3/tcx_egress")) if os.path.exists(r.path("links/3/tcx_egress")) else detach(r.path("links/3/tcx_ingress"))
    return "hook/*3/tcx_*"


def a_hook_s_pin_is_removed(r: Rig) -> str:
    os.unlink(r.path("links/3/tcx_ingress"))
    return "hook/*3/tcx_ingress"


def a_hook_s_pin_is_no_link(r: Rig) -> str:
    with stranger() as program:
        put_in_place(program, r.path("links/1/tcx_ingress"))
    return "hook/*1/tcx_ingress"


def the_topology_s_record_is_removed(r: Rig) -> str:
    os.unlink(f"{r.root}/topologies/damaged")
    return "*"


def the_topology_s_record_is_another_map(r: Rig) -> str:
    another_map(f"{r.root}/topologies/damaged")
    return "*"


def what_a_cube_is_is_gone(r: Rig) -> str:
    os.unlink(r.path("cubes/br/about"))
    return "cube/*br"


def what_is_in_force_is_gone(r: Rig) -> str:
    os.unlink(r.path("cubes/br/current"))
    return "cube/*br"


def a_netdev_is_deleted(r: Rig) -> str:
    linkwrite.delete_link(r.netdev(1))
    return "link/:*1"


def a_host_s_end_is_deleted(r: Rig) -> str:
    linkwrite.delete_link("eth0", r.host(3))
    return "link/:*3"


def a_hidden_veth_is_deleted(r: Rig) -> str:
    linkwrite.delete_link(_hidden(r))
    return f"link/:{_hidden_name(r)}"


def _hidden(r: Rig) -> str:
    return next(name for name in sorted(_ours(r)) if name.startswith("pcn"))


def _hidden_name(r: Rig) -> str:
    return "pcn*"


def _ours(r: Rig) -> Iterator[str]:
    from reconciler.kernel import rtnl

    return (name for name, netdev in rtnl.links().items() if netdev.alias.startswith(f"{r.root}/"))


def a_netdev_is_down(r: Rig) -> str:
    linkwrite.set_link(r.netdev(1), up=False)
    return "link/:*1"


def a_host_s_end_is_down(r: Rig) -> str:
    linkwrite.set_link("eth0", r.host(2), up=False)
    return "link/:*2"


def an_address_is_removed(r: Rig) -> str:
    linkwrite.remove_address("eth0", r.host(2), "10.8.0.2/24")
    return "link/:*2"


def an_address_is_added(r: Rig) -> str:
    linkwrite.add_address("eth0", r.host(2), "192.0.2.200/32")
    return "link/:*2"


def an_mtu_is_changed(r: Rig) -> str:
    linkwrite.set_link("eth0", r.host(1), mtu=1300)
    return "link/:*1"


def a_mac_is_changed(r: Rig) -> str:
    linkwrite.set_link("eth0", r.host(1), mac="02:00:00:08:00:0f")
    return "link/:*1"


def a_route_is_removed(r: Rig) -> str:
    linkwrite.remove_route("eth0", r.host(1), Route("192.0.2.0/24", "10.8.0.2"))
    return "link/:*1"


def a_route_is_added(r: Rig) -> str:
    linkwrite.add_route("eth0", r.host(2), Route("203.0.113.0/24", "10.8.0.1"))
    return "link/:*2"


def a_netdev_has_lost_its_mark(r: Rig) -> str:
    linkwrite.set_link(r.netdev(1), alias="")
    return "link/:*1"


def a_netdev_is_in_another_group(r: Rig) -> str:
    linkwrite.set_link(r.netdev(2), group=0)
    return "link/:*2"


def a_namespace_is_deleted(r: Rig) -> str:
    netns.delete(r.host(3))
    return "namespace/*h3"


def a_namespace_s_mark_is_gone(r: Rig) -> str:
    os.unlink(r.path("namespaces/h3"))
    return "namespace/*h3"


def a_cube_is_gone_altogether(r: Rig) -> str:
    for path in ("cubes/fwd/entry", "cubes/fwd/next"):
        lose(r.path(path))
    shutil.rmtree(r.path("cubes/fwd"))
    return "cube/*fwd"


ON_TC: list[Damage] = [
    a_row_is_changed, a_row_is_added, a_row_is_deleted, a_static_station_is_deleted, an_action_is_added, an_action_is_zeroed,
    the_entry_leads_to_another_program, the_entry_is_cleared, the_program_s_pin_is_another_s, a_stub_s_pin_is_another_s,
    a_way_out_s_pin_is_another_s, a_config_table_s_pin_is_another_s, a_state_table_s_pin_is_another_s,
    the_hops_pin_is_another_s, the_entry_s_pin_is_another_s, the_next_s_pin_is_another_s, a_hop_leads_nowhere, a_hop_leads_elsewhere, a_jump_is_cleared,
    a_jump_leads_to_another_program, a_member_is_removed_from_flooding, a_member_is_another_netdev,
    a_hook_leads_to_another_program, a_hook_is_detached, an_egress_hook_is_detached, a_hook_s_pin_is_removed,
    a_hook_s_pin_is_no_link, the_topology_s_record_is_removed, the_topology_s_record_is_another_map, what_a_cube_is_is_gone,
    what_is_in_force_is_gone, a_netdev_is_deleted, a_host_s_end_is_deleted, a_hidden_veth_is_deleted, a_netdev_is_down,
    a_host_s_end_is_down, an_address_is_removed, an_address_is_added, an_mtu_is_changed, a_mac_is_changed, a_route_is_removed,
    a_route_is_added, a_netdev_has_lost_its_mark, a_netdev_is_in_another_group, a_namespace_is_deleted, a_namespace_s_mark_is_gone, a_cube_is_gone_altogether,
]  # fmt: skip


def a_program_is_detached(r: Rig) -> str:
    detach(r.path("links/1/xdp"))
    return "hook/*1/xdp"


def an_xdp_hook_s_pin_is_removed(r: Rig) -> str:
    os.unlink(r.path("links/2/xdp"))
    return "hook/*2/xdp"


def an_xdp_hook_leads_to_another_program(r: Rig) -> str:
    with stranger(bpf.XDP) as program, opened(r.path("links/1/xdp")) as link:
        bpf.link_update(link, program, None)
    return "hook/*1/xdp"


def an_xdp_entry_leads_to_another_program(r: Rig) -> str:
    with stranger(bpf.XDP) as program:
        write(r.path("cubes/two/entry"), number(0), number(program))
    return "cube/*two/program/ingress_0"


def receive_offload_is_switched(r: Rig) -> str:
    flip(r.host(1), "eth0", "gro")
    return "offload/*h1:eth0"


def checksum_offload_is_switched(r: Rig) -> str:
    flip(r.host(2), "eth0", "tx-checksum")
    return "offload/*h2:eth0"


def an_xdp_member_is_removed_from_flooding(r: Rig) -> str:
    erase(r.path("cubes/br/flood"), number(0))
    return "cube/*br/member/0"


def a_way_back_in_is_changed(r: Rig) -> str:
    write(r.path("cubes/br/reenter"), number(2), struct.pack("<II", 0, 0))
    return "cube/*br/member/2"


def a_twin_s_entry_is_cleared(r: Rig) -> str:
    erase(r.path("cubes/watch/twin/entry"), number(32))
    return "cube/*watch/program/twin_egress_0"


def a_twin_s_hop_leads_nowhere(r: Rig) -> str:
    write(r.path("cubes/watch/twin/hops"), number(0), struct.pack("<II", 0, 0))
    return "cube/*watch/hop/twin/0"


ON_XDP: list[Damage] = [
    a_row_is_changed, a_row_is_added, a_program_is_detached, an_xdp_hook_s_pin_is_removed, an_xdp_hook_leads_to_another_program,
    an_xdp_entry_leads_to_another_program, the_entry_is_cleared, the_entry_s_pin_is_another_s, the_next_s_pin_is_another_s,
    a_hop_leads_nowhere, a_jump_is_cleared,
    an_xdp_member_is_removed_from_flooding, a_way_back_in_is_changed, receive_offload_is_switched, checksum_offload_is_switched,
    a_twin_s_entry_is_cleared, a_twin_s_hop_leads_nowhere, a_netdev_is_deleted, a_hidden_veth_is_deleted, a_namespace_is_deleted,
    what_is_in_force_is_gone,
]  # fmt: skip


def a_call_is_cleared(r: Rig) -> str:
    erase(_in_force(r, "calls"), number(_second(r)))
    return f"cube/*gw/program/ingress_{_second(r)}"


def _second(r: Rig) -> int:
    """The index of a program that another one goes on in."""
    names = sorted(name for name in os.listdir(_in_force(r, "")) if name.startswith("ingress_") and not name.endswith("_const"))
    return int(names[1].rpartition("_")[2])


def _in_force(r: Rig, name: str) -> str:
    return f"{r.path('cubes/gw')}/{os.readlink(r.path('cubes/gw/current'))}/{name}"


def a_call_leads_to_another_program(r: Rig) -> str:
    with stranger() as program:
        write(_in_force(r, "calls"), number(_second(r)), number(program))
    return f"cube/*gw/program/ingress_{_second(r)}"


def the_calls_pin_is_another_s(r: Rig) -> str:
    another_map(_in_force(r, "calls"))
    return "cube/*gw/program/ingress_0"


def a_route_is_erased(r: Rig) -> str:
    with opened(r.path("cubes/gw/tables/fib4")) as table:
        maps.delete(table, next(iter(maps.keys(table, maps.info(table).spec))))
    return "cube/*gw/table/fib4"


def a_later_program_s_pin_is_another_s(r: Rig) -> str:
    with stranger() as program:
        put_in_place(program, _in_force(r, f"ingress_{_second(r)}"))
    return f"cube/*gw/program/ingress_{_second(r)}"


def the_way_back_in_s_pin_is_another_s(r: Rig) -> str:
    with stranger() as program:
        put_in_place(program, r.path("cubes/gw/slow/0_cube"))
    return "stub/cubes/*gw/slow/0_cube"


ON_ROUTED: list[Damage] = [
    a_call_is_cleared, a_call_leads_to_another_program, the_calls_pin_is_another_s, a_route_is_erased,
    a_later_program_s_pin_is_another_s, the_way_back_in_s_pin_is_another_s,
]  # fmt: skip


def heals(r: Rig, named: str, *, loses: bool = False) -> list[str]:
    """What is wrong with how this damage is told and healed."""
    drifted = [change.address for change in r.drift()]
    parts = named.replace("*", "\0").split("\0")
    told = any(address.startswith(parts[0]) and address.endswith(parts[-1]) for address in drifted)
    wrong = [] if drifted and told else [f"drift names {drifted} instead of {named}"]
    r.heal()
    wrong += [f"lost {what}" for what in ([] if loses else r.lost())]
    wrong += [f"{step.action} {step.address} is still to be done" for step in r.bench.plan(r.data).plan.steps]
    wrong += [f"{change.address} still drifts" for change in r.drift()]
    wrong += [f"{pair} do not talk" for pair in r.silent()]
    return wrong


@pytest.mark.parametrize("damage", ON_TC, ids=lambda damage: damage.__name__)
def test_damage_to_a_tc_graph_is_named_and_healed(own_root: str, damage: Damage) -> None:
    with rig(own_root, "TC") as r:
        assert heals(r, damage(r)) == []


@pytest.mark.parametrize("damage", ON_XDP, ids=lambda damage: damage.__name__)
def test_damage_to_an_xdp_graph_is_named_and_healed(own_root: str, damage: Damage) -> None:
    with rig(own_root, "XDP") as r:
        assert heals(r, damage(r)) == []


@pytest.mark.parametrize("damage", ON_ROUTED, ids=lambda damage: damage.__name__)
def test_damage_to_a_cube_of_several_programs_is_named_and_healed(own_root: str, damage: Damage) -> None:
    with rig(own_root, "routed") as r:
        assert heals(r, damage(r)) == []


@pytest.mark.parametrize("family", ["TC", "XDP", "routed"])
def test_every_pin_can_be_lost(own_root: str, family: str) -> None:
    """One after the other, each is missed and put back; and nothing that was learned or counted goes with it."""
    wrong = []
    with rig(own_root, family) as r:
        before = {_plain(path) for path in r.bench.paths()}
        for path in sorted(_pins(r)):
            lose(_now(r, path))
            wrong += [f"{path}: {each}" for each in heals(r, _owner(r, path))]
            after = {_plain(path) for path in r.bench.paths()}
            wrong += [f"{path}: now there is no {missing}" for missing in before - after]
            wrong += [f"{path}: now there is also {more}" for more in after - before]
    assert not wrong, "\n".join(wrong[:30])


def _pins(r: Rig) -> list[str]:
    return [path.removeprefix(f"{r.root}/") for path in r.bench.paths() if os.path.islink(path) or not os.path.isdir(path)]


def _now(r: Rig, path: str) -> str:
    """The path, in the generation that is in force by now."""
    parts = path.split("/")
    if len(parts) > 2 and parts[2][0] == "g" and parts[2][1:].isdigit():
        parts[2] = os.readlink(f"{r.root}/cubes/{parts[1]}/current")
    return f"{r.root}/{'/'.join(parts)}"


def _plain(path: str) -> str:
    """Without the generation's number."""
    return "/".join("g*" if part[0:1] == "g" and part[1:].isdigit() else part for part in path.split("/"))


def _owner(r: Rig, path: str) -> str:
    """What drift is to name when a pin is gone: what it belongs to."""
    top, name, *rest = path.split("/")
    if top == "cubes":
        return f"stub/{path}" if rest[-2:-1] in (["in"], ["out"], ["slow"]) else f"cube/{name}*"
    if top == "links":
        return f"hook/{name}/{rest[0]}"
    return {"namespaces": f"namespace/{name}", "topologies": "*", "shared": f"shared/{name}"}[top]


@pytest.mark.parametrize("damage", [a_row_is_changed, a_hook_is_detached, an_address_is_removed], ids=lambda damage: damage.__name__)
def test_the_command_says_so_by_its_exit_code_and_names_it(own_root: str, damage: Damage) -> None:
    with rig(own_root, "TC") as r:
        assert _command("drift", "--bpffs", own_root)[0] == 0
        address = damage(r)
        code, said = _command("drift", "--bpffs", own_root, "-o", "json")
        assert code == 3
        first, _, last = address.partition("*")
        named = [entry["address"] for entry in json.loads(said)["drift"]]
        assert any(found.startswith(first) and found.endswith(last) for found in named), named
        r.heal()
        assert _command("drift", "--bpffs", own_root)[0] == 0


def _command(*arguments: str) -> tuple[int, str]:
    argv = [str(Path(sys.executable).parent / "pcn"), *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout


def test_frozen_constants_cannot_be_changed(own_root: str) -> None:
    with rig(own_root, "TC") as r, pytest.raises(PermissionError):
        write(r.path("cubes/guard/g1/ingress_0_const"), number(0), bytes(64))


def test_what_is_healed_stays_healed_while_another_topology_is_applied(own_root: str) -> None:
    """An apply of something else heals too: what a topology holds is all of it, or the apply says so."""
    with rig(own_root, "TC") as r:
        a_row_is_changed(r)
        other = {"apiVersion": "polycube.network/v1", "kind": "Topology", "metadata": {"name": "other"},
                 "spec": {"cubes": [{"name": f"{r.tag}-more", "service-name": "transparenthelloworld"}]}}  # fmt: skip
        r.bench.apply(other)
        assert r.drift() == []
        assert r.lost() == []
        assert BARRED in str(r.data)
        r.bench.delete(other)
