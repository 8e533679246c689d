"""Ways to damage a TC graph from outside: its rows, programs, pins and hooks. Each says which address drift is to name."""
from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Callable

from reconciler.kernel import bpf
from tests.faults.damaged import (
    Rig,
    another_map,
    detach,
    erase,
    lose,
    number,
    opened,
    put_in_place,
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


def what_a_cube_is_is_gone(r: Rig) -> str:
    os.unlink(r.path("cubes/br/about"))
    return "cube/*br"


def what_is_in_force_is_gone(r: Rig) -> str:
    os.unlink(r.path("cubes/br/current"))
    return "cube/*br"


def a_cube_is_gone_altogether(r: Rig) -> str:
    for path in ("cubes/fwd/entry", "cubes/fwd/next"):
        lose(r.path(path))
    shutil.rmtree(r.path("cubes/fwd"))
    return "cube/*fwd"


ALL: list[Damage] = [
    a_row_is_changed, a_row_is_added, a_row_is_deleted, a_static_station_is_deleted, an_action_is_added, an_action_is_zeroed,
    the_entry_leads_to_another_program, the_entry_is_cleared, the_program_s_pin_is_another_s, a_stub_s_pin_is_another_s,
    a_way_out_s_pin_is_another_s, a_config_table_s_pin_is_another_s, a_state_table_s_pin_is_another_s,
    the_hops_pin_is_another_s, the_entry_s_pin_is_another_s, the_next_s_pin_is_another_s, a_hop_leads_nowhere,
    a_hop_leads_elsewhere, a_jump_is_cleared, a_jump_leads_to_another_program, a_member_is_removed_from_flooding,
    a_member_is_another_netdev, a_hook_leads_to_another_program, a_hook_is_detached, an_egress_hook_is_detached,
    a_hook_s_pin_is_removed, a_hook_s_pin_is_no_link, the_topology_s_record_is_removed,
    what_a_cube_is_is_gone, what_is_in_force_is_gone, a_cube_is_gone_altogether,
]  # fmt: skip
