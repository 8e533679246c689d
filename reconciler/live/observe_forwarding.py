"""Read back where packets go: hops, flood members, hooks."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

from reconciler import pins
from reconciler.graph.records import GONE, HookRecord, MemberRecord, NextHopRecord, TrampolineRecord
from reconciler.live.snapshot import Ends, Flooded, Snapshot, Wire
from reconciler.model import family_of

_HOP_KINDS = ("none", "pass", "netdev", "program")
POINTS = ("xdp", "tcx_ingress", "tcx_egress")


def wires(snapshot: Snapshot, cube: str) -> list[Wire]:
    """A cube's hops as in its tables: by numbers, which can be resolved once all cubes are read."""
    home = pins.cube(cube)
    found: list[Wire] = []
    there = snapshot.reader.names(home)
    for side, mark in ((pins.MAIN, "hops"), (pins.TWIN, "twin"), (pins.SHADOW, f"{pins.SHADOW}hops")):
        if mark not in there:
            continue
        values = snapshot.reader.values(f"{home}/{side}hops").rstrip(b"\0")
        values += bytes(-len(values) % 8)
        hops = [(row, kind, ifindex) for row, (kind, ifindex) in enumerate(struct.iter_unpack("<II", values)) if kind]
        leading = [row for row, kind, _ in hops if kind == 3]
        jumps = snapshot.reader.slots_at(f"{home}/{side}next", leading) if side != pins.SHADOW else dict.fromkeys(leading, 0)
        found += [(cube, side, row, kind, jumps[row] if kind == 3 else ifindex) for row, kind, ifindex in hops]
    return found


def ends_of(snapshot: Snapshot, own: Snapshot, in_use: Collection[int]) -> Ends:
    return Ends(
        [_target(snapshot, kind, number) for _, _, _, kind, number in own.wires],
        [(snapshot.netdev(out), snapshot.netdev(again)) for flood in own.flooded for _, out, again, _ in flood.members],
        [all(table in in_use for table in tables) for _, tables in own.chains],
    )


def _target(snapshot: Snapshot, kind: int, number: int) -> str:
    if kind == 3:
        return snapshot.stubs.get(number) or (f"program {number}" if number else GONE)
    return snapshot.netdev(number) if kind == 2 else ""


def hops(own: Snapshot, ends: Ends) -> Iterator[NextHopRecord]:
    for (cube, side, row, kind, _), target in zip(own.wires, ends.targets, strict=True):
        yield NextHopRecord(cube, side, row, _HOP_KINDS[kind] if kind < 4 else str(kind), target)


def chains(own: Snapshot, ends: Ends) -> Iterator[TrampolineRecord]:
    """A chain is what was linked if every table that it uses is one that its cubes' own programs use now."""
    for (stub, _), intact in zip(own.chains, ends.intact, strict=True):
        yield stub if intact else replace(stub, chain=f"foreign:{stub.chain}")


def flooded(snapshot: Snapshot, cube: str, about: Mapping[str, Any]) -> tuple[Flooded, ...]:
    """A cube's flood members as they are in its tables; of an XDP cube that floods groups, those of its TC twin too."""
    home = pins.cube(cube)
    flavour = family_of(about.get("type", "TC"))
    sides = [(pins.MAIN, flavour)] + ([(pins.TWIN, "TC")] if "flood" in snapshot.reader.names(f"{home}/twin") else [])
    found = ((side, _members(snapshot, home, side, flavour)) for side, flavour in sides)
    return tuple(Flooded(cube, side, tuple(members)) for side, members in found if members is not None)


def _members(snapshot: Snapshot, home: str, side: str, flavour: str) -> list[tuple[int, int, int, bool]] | None:
    found = snapshot.reader.rows(f"{home}/{side}flood")
    if found is None:
        return None
    again = snapshot.reader.rows(f"{home}/reenter") if flavour == "XDP" else None
    pairs = {key: struct.unpack("<II", value) for key, value in again[1].items()} if again else {}
    members = []
    for key, value in found[1].items():
        (index,) = struct.unpack("<I", key)
        if flavour == "TC":
            kind, ifindex, ingress = struct.unpack("<III", value)
            if kind == 2:
                members.append((index, ifindex, 0, bool(ingress)))
        else:
            (ifindex,) = struct.unpack("<I", value[:4])
            if ifindex:
                members.append((index, ifindex, pairs[key][1] if pairs.get(key, (0, 0))[0] else 0, False))
    return members


def members(own: Snapshot, ends: Ends) -> Iterator[MemberRecord]:
    rows = ((flood, member) for flood in own.flooded for member in flood.members)
    for (flood, (index, _, again, is_far)), (netdev, other) in zip(rows, ends.members, strict=True):
        near, far = (_near_end(netdev), netdev) if is_far else (netdev, other if again else "")
        yield MemberRecord(flood.cube, index, near, far, flood.side)


def _near_end(far: str) -> str:
    return far[:-1] + "n" if far.startswith("pcn") and far.endswith("f") else far


def hooks(snapshot: Snapshot) -> list[str]:
    """Hooks under the present names of their netdevs, wherever they are pinned; returns the orphans. Attached ones have
    priority over those that lost their netdev, and those at the right pin over others."""
    found: dict[str, HookRecord] = {}
    leftovers: list[str] = []
    for record in sorted(_pinned_hooks(snapshot, leftovers), key=lambda hook: (hook.stub == GONE, hook.pin != "")):
        if found.setdefault(record.address, record) is not record:
            leftovers.append(record.path)
    snapshot.add(found.values())
    return leftovers


def _pinned_hooks(snapshot: Snapshot, leftovers: list[str]) -> Iterator[HookRecord]:
    for escaped in snapshot.reader.names("links"):
        for name in snapshot.reader.names(f"links/{escaped}"):
            path = f"links/{escaped}/{name}"
            held = snapshot.reader.hook(path, snapshot.netdevs, snapshot.names)
            if held is None or held.point not in POINTS:
                leftovers.append(path)
                continue
            netdev = snapshot.names[held.ifindex] if held.ifindex else pins.unescape(escaped)
            state = snapshot.netdevs.get(netdev) if held.ifindex else None
            stub = snapshot.stubs.get(held.program, f"program {held.program}") if held.ifindex else GONE
            mode = state.xdp.mode if state is not None and state.xdp is not None and held.point == "xdp" else ""
            yield HookRecord(netdev, held.point, stub, mode, "" if path == pins.hook(netdev, held.point) else path)
