"""Read back where packets go: hops, flood members, hooks."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from reconciler import pins
from reconciler.graph.records import GONE, HookRecord, HopRecord, MemberRecord

if TYPE_CHECKING:
    from reconciler.live.observe import Look

_HOP_KINDS = ("none", "pass", "netdev", "program")
POINTS = ("xdp", "tcx_ingress", "tcx_egress")


def wires(look: Look, cube: str) -> None:
    """A cube's hops as they are in its tables: by numbers, which can be named once all cubes are known."""
    home = pins.cube(cube)
    for side in (pins.MAIN, pins.TWIN) if "twin" in look.reader.names(home) else (pins.MAIN,):
        values = look.reader.values(f"{home}/{side}hops").rstrip(b"\0")
        values += bytes(-len(values) % 8)
        hops = [(row, kind, ifindex) for row, (kind, ifindex) in enumerate(struct.iter_unpack("<II", values)) if kind]
        jumps = look.reader.slots_at(f"{home}/{side}next", [row for row, kind, _ in hops if kind == 3])
        look.wires += [(cube, side, row, kind, jumps[row] if kind == 3 else ifindex) for row, kind, ifindex in hops]


def hop(look: Look, cube: str, side: str, row: int, kind: int, number: int) -> HopRecord:
    target = look.netdev(number) if kind == 2 else ""
    if kind == 3:
        target = look.stubs.get(number, f"program {number}" if number else GONE)
    return HopRecord(cube, side, row, _HOP_KINDS[kind] if kind < 4 else str(kind), target)


def members(look: Look, cube: str, about: Mapping[str, Any]) -> None:
    found = look.reader.rows(f"{pins.cube(cube)}/flood")
    if found is None:
        return
    again = look.reader.rows(f"{pins.cube(cube)}/reenter")
    pairs = {key: struct.unpack("<II", value) for key, value in again[1].items()} if again else {}
    for key, value in found[1].items():
        index = struct.unpack("<I", key)[0]
        if about.get("type", "TC") == "TC":
            kind, ifindex, ingress = struct.unpack("<III", value)
            if kind != 2:
                continue
            netdev, far = look.netdev(ifindex), ""
            if ingress:
                netdev, far = _near_end(netdev), netdev
        else:
            (ifindex,) = struct.unpack("<I", value[:4])
            if not ifindex:
                continue
            netdev, far = look.netdev(ifindex), look.netdev(pairs[key][1]) if pairs.get(key, (0, 0))[0] else ""
        look.add([MemberRecord(cube, index, netdev, far)])


def _near_end(far: str) -> str:
    return far[:-1] + "n" if far.startswith("pcn") and far.endswith("f") else far


def hooks(look: Look) -> list[str]:
    leftovers = []
    for escaped in look.reader.names("links"):
        netdev = pins.unescape(escaped)
        for point in look.reader.names(f"links/{escaped}"):
            state = look.netdevs.get(netdev)
            found = look.reader.hook(f"links/{escaped}/{point}", state.index if state else 0, point) if point in POINTS else None
            if found is None:
                leftovers.append(f"links/{escaped}/{point}")
                continue
            program, ifindex = found
            there = state is not None and ifindex == state.index
            stub = look.stubs.get(program, f"program {program}") if there else GONE
            mode = state.xdp.mode if there and state is not None and state.xdp is not None and point == "xdp" else ""
            look.add([HookRecord(netdev, point, stub, mode)])
    return leftovers
