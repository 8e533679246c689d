"""Peers, transparent cubes and attachments, traced through the live wiring: the inverse of `wiring`.

Inwards the trace starts at a netdev's hook, outwards at a port's hop, and follows stubs. Transparent cubes that are entered
by their inward stub are on the ingress side; those entered by their outward stub, on the egress side.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from reconciler import pins
from reconciler.graph.records import GONE, CubeRecord, HookRecord, Live, NextHopRecord, TrampolineRecord, WaitingRecord
from reconciler.service.registry import Services

_Place = TypeVar("_Place")
_LONGEST = 256  # hops; a damaged graph may loop


@dataclass(slots=True)
class Traced:
    """`tcubes` and `attachments` from the wire inwards. `netdevs` are those that exist."""

    peers: dict[tuple[str, str], str] = field(default_factory=dict)
    tcubes: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    attachments: dict[str, list[str]] = field(default_factory=dict)
    netdevs: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class _Walk:
    """`out`, `into`: transparent cubes passed outwards and inwards; `end`: (cube, port) of a standard cube, or a netdev."""

    out: tuple[str, ...]
    into: tuple[str, ...]
    end: tuple[str, str] | str | None


class _Tracer:
    def __init__(self, live: Live, services: Services) -> None:
        records = list(live.state.values())
        self.stubs = {r.path: r for r in records if isinstance(r, TrampolineRecord)}
        self.hops = {(r.cube, r.side, r.row): r for r in records if isinstance(r, NextHopRecord)}
        self.hooks = [r for r in records if isinstance(r, HookRecord)]
        self.services = {r.name: services.get(r.service) for r in records if isinstance(r, CubeRecord)}

    def standard(self, cube: str) -> bool:
        service = self.services.get(cube)
        return service is None or service.kind == "standard"

    def both_ways(self, cube: str) -> bool:
        service = self.services.get(cube)
        return service is not None and bool(service.programs("egress")) and bool(service.programs("ingress"))

    def walk(self, kind: str, target: str) -> _Walk:
        """From a hop's or a hook's target to where it ends."""
        out: list[str] = []
        into: list[str] = []
        for _ in range(_LONGEST):
            if kind == "netdev":
                return _Walk(tuple(out), tuple(into), None if target.startswith(GONE) else target)
            stub = self.stubs.get(target)
            if kind != "program" or stub is None:
                break
            if self.standard(stub.cube):
                if stub.direction == "ingress":
                    return _Walk(tuple(out), tuple(into), (stub.cube, stub.port))
                row = pins.AFTER_EGRESS | stub.index  # its own egress program, on the way to a netdev
            else:
                (into if stub.direction == "ingress" else out).append(stub.cube)
                row = stub.index ^ 1
            hop = self.hops.get((stub.cube, stub.side, row))
            if hop is None:
                break
            kind, target = hop.kind, hop.target
        return _Walk(tuple(out), tuple(into), None)


def trace(live: Live, services: Services, hints: Mapping[str, Sequence[str]]) -> Traced:
    """Follow everything. `hints`: the netdevs and ports where the documents have transparent cubes, for where both readings
    fit, and for what nothing points to."""
    tracer = _Tracer(live, services)
    found = Traced(netdevs=live.netdevs)
    arriving: dict[tuple[str, str], list[str]] = {}
    leaving: dict[tuple[str, str], tuple[str, ...]] = {}
    hidden = {hook.netdev for hook in tracer.hooks if pins.is_hidden(hook.netdev)}
    on_netdev = {hook.netdev: tracer.walk("program", hook.stub) for hook in tracer.hooks if hook.point == "tcx_egress"}
    for stub in tracer.stubs.values():
        if stub.direction != "ingress" or not tracer.standard(stub.cube):
            continue
        hop = tracer.hops.get((stub.cube, pins.MAIN, stub.index))
        if hop is None:
            continue
        walk = tracer.walk(hop.kind, hop.target)
        attached = set(on_netdev[walk.end].out) if isinstance(walk.end, str) and walk.end in on_netdev else set()
        leaving[stub.cube, stub.port] = tuple(name for name in walk.out if name not in attached)
        if isinstance(walk.end, tuple):
            found.peers[stub.cube, stub.port] = ":".join(walk.end)
            arriving[walk.end] = list(walk.into)
        elif walk.end is not None:
            found.peers[stub.cube, stub.port] = walk.end
    for hook in sorted(tracer.hooks, key=lambda hook: hook.point != "xdp"):  # XDP is nearer to the wire
        if hook.netdev not in hidden and hook.point != "tcx_egress":
            _arrivals(tracer, hook, hints, leaving, arriving, found)
    for netdev, walk in on_netdev.items():
        found.attachments[netdev] = _merge(found.attachments.get(netdev, []), walk.out[::-1])
    for place in {*arriving, *leaving}:
        found.tcubes[place] = _merge(arriving.get(place, []), leaving.get(place, ())[::-1])
    _add_waiting(live, found)
    _add_detached(tracer, found, hints)
    return found


def without_taps(traced: Traced) -> Traced:
    """The same without the taps of running commands, which are part of no document."""
    return replace(traced, tcubes=_without_taps(traced.tcubes), attachments=_without_taps(traced.attachments))


def _without_taps(found: Mapping[_Place, Sequence[str]]) -> dict[_Place, list[str]]:
    kept = {place: [cube for cube in cubes if not pins.is_of_no_document(cube)] for place, cubes in found.items()}
    return {place: cubes for place, cubes in kept.items() if cubes}


def _add_detached(tracer: _Tracer, found: Traced, hints: Mapping[str, Sequence[str]]) -> None:
    """The hooks of a netdev vanish with it, and only the documents declare its attachments: it may appear again."""
    placed = {name for names in (*found.tcubes.values(), *found.attachments.values()) for name in names}
    for name, places in hints.items():
        several = len(places) > 1
        for at in places if name in tracer.services and (several or name not in placed) else ():
            cube, is_port, port = at.partition(":")
            if is_port and several and (cube, port) not in found.peers:
                here = found.tcubes.setdefault((cube, port), [])
            elif not is_port and at not in found.netdevs:
                here = found.attachments.setdefault(at, [])
            else:
                continue
            here += [name] if name not in here else []


def _add_waiting(live: Live, found: Traced) -> None:
    """Transparent cubes that nothing points to yet: their own records name their places."""
    waiting = sorted((r for r in live.state.values() if isinstance(r, WaitingRecord)), key=lambda record: record.place)
    for record in waiting:
        cube, colon, port = record.at.partition(":")
        here = found.tcubes.setdefault((cube, port), []) if colon else found.attachments.setdefault(record.at, [])
        if record.cube not in here:
            here.append(record.cube)


def _arrivals(
    tracer: _Tracer,
    hook: HookRecord,
    hints: Mapping[str, Sequence[str]],
    leaving: Mapping[tuple[str, str], Sequence[str]],
    arriving: dict[tuple[str, str], list[str]],
    found: Traced,
) -> None:
    """Split an ingress chain into what is attached to the netdev and what sits on the port behind it."""
    walk = tracer.walk("program", hook.stub)
    for name in walk.into:
        if isinstance(walk.end, tuple):
            on_port = name in leaving.get(walk.end, ()) if tracer.both_ways(name) else hook.netdev not in hints.get(name, ())
        else:
            on_port = False
        if on_port and isinstance(walk.end, tuple):
            arriving.setdefault(walk.end, []).append(name)
        else:
            found.attachments.setdefault(hook.netdev, []).append(name)


def _merge(one: Sequence[str], other: Sequence[str]) -> list[str]:
    """Merges two orders of overlapping names: a name that only `other` has follows its predecessor there."""
    merged = list(one)
    for position, name in enumerate(other):
        if name not in merged:
            before = other[position - 1] if position else None
            merged.insert(merged.index(before) + 1 if before in merged else 0, name)
    return merged
