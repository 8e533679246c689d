"""Ways to damage an XDP graph, and a cube of several programs."""
from __future__ import annotations

import os
import struct

from reconciler.kernel import bpf, maps
from tests.faults.damaged import (
    Rig,
    another_map,
    detach,
    erase,
    flip,
    number,
    opened,
    put_in_place,
    stranger,
    write,
)
from tests.faults.damages import (
    Damage,
    a_hop_leads_nowhere,
    a_jump_is_cleared,
    a_row_is_added,
    a_row_is_changed,
    the_entry_is_cleared,
    the_entry_s_pin_is_another_s,
    the_next_s_pin_is_another_s,
    what_is_in_force_is_gone,
)
from tests.faults.damages_network import a_hidden_veth_is_deleted, a_namespace_is_deleted, a_netdev_is_deleted


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
    with opened(r.path("cubes/gw/tables/fib4_blocks")) as table:
        key, row = next((key, row) for key, row in maps.rows(table, maps.info(table).spec).items() if any(row))
        maps.update(table, key, bytes(len(row)))
    return "cube/*gw/table/fib4_blocks"


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
