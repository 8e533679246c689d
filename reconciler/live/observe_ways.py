"""Read back where packets go: hops, flood members, hooks."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reconciler import pins
from reconciler.graph.records import GONE, HookRecord, HopRecord, MemberRecord, Record

if TYPE_CHECKING:
    from reconciler.live.observe import Look

_HOP_KINDS = ("none", "pass", "netdev", "program")
POINTS = ("xdp", "tcx_ingress", "tcx_egress")


Wire = tuple[str, str, int, int, int]
"""A cube's side and row of its hops, their kind, and the netdev's or the program's number."""


@dataclass(frozen=True, slots=True)
class Flooded:
    """A cube's flood table, and what of it comes in again, as it is in the kernel."""

    cube: str
    is_tc: bool
    rows: Mapping[bytes, bytes]
    pairs: Mapping[bytes, tuple[int, int]]


def wires(look: Look, cube: str) -> list[Wire]:
    """A cube's hops as they are in its tables: by numbers, which can be named once all cubes are known."""
    home = pins.cube(cube)
    found: list[Wire] = []
    for side in (pins.MAIN, pins.TWIN) if "twin" in look.reader.names(home) else (pins.MAIN,):
        values = look.reader.values(f"{home}/{side}hops").rstrip(b"\0")
        values += bytes(-len(values) % 8)
        hops = [(row, kind, ifindex) for row, (kind, ifindex) in enumerate(struct.iter_unpack("<II", values)) if kind]
        jumps = look.reader.slots_at(f"{home}/{side}next", [row for row, kind, _ in hops if kind == 3])
        found += [(cube, side, row, kind, jumps[row] if kind == 3 else ifindex) for row, kind, ifindex in hops]
    return found


def named(look: Look, own: Look) -> dict[str, Record]:
    """The hops of one cube, by address; the last ones if they lead where they led."""
    targets = [_target(look, kind, number) for _, _, _, kind, number in own.wires]
    if own.hops[0] != targets:
        records = [
            HopRecord(cube, side, row, _HOP_KINDS[kind] if kind < 4 else str(kind), target)
            for (cube, side, row, kind, _), target in zip(own.wires, targets, strict=True)
        ]
        own.hops = targets, {record.address: record for record in records}
    return own.hops[1]


def _target(look: Look, kind: int, number: int) -> str:
    if kind == 3:
        return look.stubs.get(number) or (f"program {number}" if number else GONE)
    return look.netdev(number) if kind == 2 else ""


def flooded(look: Look, cube: str, about: Mapping[str, Any]) -> Flooded | None:
    """A cube's flood members as they are in its tables: by numbers."""
    found = look.reader.rows(f"{pins.cube(cube)}/flood")
    if found is None:
        return None
    again = look.reader.rows(f"{pins.cube(cube)}/reenter")
    pairs = {key: struct.unpack("<II", value) for key, value in again[1].items()} if again else {}
    return Flooded(cube, about.get("type", "TC") == "TC", found[1], pairs)


def members(look: Look, flood: Flooded) -> Iterator[MemberRecord]:
    for key, value in flood.rows.items():
        index = struct.unpack("<I", key)[0]
        if flood.is_tc:
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
            netdev, far = look.netdev(ifindex), look.netdev(flood.pairs[key][1]) if flood.pairs.get(key, (0, 0))[0] else ""
        yield MemberRecord(flood.cube, index, netdev, far)


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
