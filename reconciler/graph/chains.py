"""Which cubes are fused into one program. Pure: reads a desired graph, and determines what is linked into each stub.

Starting at a stub that no cube points to, or at a branching one, cubes are followed as long as there is only one successor.
They are linked into that stub, in order, and run without a jump between programs. Every other edge stays a hop. Edges are
those that there would be if every netdev existed, so that the appearance of a netdev loads no program.

A cube is not fused, and entered through its entry, if it declares `fuse: false`, if it continues in other programs of its
own, or if it has so many ports that exchanging it would mean exchanging many programs.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from reconciler import pins
from reconciler.graph.parts import Built
from reconciler.graph.records import (
    ChainPart,
    CubeRecord,
    HookRecord,
    NextHopRecord,
    PortRecord,
    ProgramRecord,
    Record,
    State,
    TrampolineRecord,
)
from reconciler.graph.tables import PUBLIC, scope_of, used_tables
from reconciler.model import BuildKey
from reconciler.service.registry import Services

MOST_PORTS = 8  # of a cube that is linked: it is in about two programs for each
MOST_CUBES = 32
MOST_INSTRUCTIONS = 8192
MOST_TABLES = 63  # the kernel allows a program 64 maps, and the chain has one of its own
_LAST = -1  # the row of a part that nothing follows


@dataclass(frozen=True, slots=True)
class _Code:
    """The linker's view of an object: `leaves`: whether it reads its hops; of each of its `tables` the name, whether it is
    the cube's own, and whether each side has one."""

    size: int
    leaves: bool
    tables: tuple[tuple[str, bool, bool], ...]


_Way = tuple[str, str, str]  # (cube, side, direction): a cube is in a chain once in each direction
_Table = tuple[str, str, str]  # (cube, side, name); no cube for one of the host's


def fuse(
    state: State,
    ways: Iterable[Record],
    services: Services,
    built: Mapping[BuildKey, Built],
    objects: Mapping[str, Any],
) -> tuple[str, ...]:
    """Assign every stub of a desired graph its chain, and return the addresses of those that have one. `ways` has the hops
    and hooks that there would be if every netdev existed; `objects` by digest."""
    ways = list(ways)
    hops = [record for record in ways if isinstance(record, NextHopRecord) and record.kind == "program"]
    if not hops:
        return ()  # no cube leads to another: what a graph of a thousand has to pay
    hooks = [record.stub for record in ways if isinstance(record, HookRecord)]
    fuser = _Fuser(state, hops, hooks, services, built, objects)
    chained = []
    for stub, parts in fuser.chains().items():
        record = fuser.stubs[stub]
        chain = digest(parts) if parts else ""
        if parts or record.chain:
            state[record.address] = replace(record, chain=chain, parts=parts)
        if parts:
            chained.append(record.address)
    return tuple(chained)


def digest(parts: Iterable[ChainPart]) -> str:
    """What a chain is built from, as 16 bytes in hex: it is kept in the chain's own map."""
    said = [(part.cube, part.side, part.direction, part.index, part.row, part.object, part.constants) for part in parts]
    return hashlib.sha256(repr(said).encode()).hexdigest()[:32]


class _Fuser:
    def __init__(
        self,
        state: State,
        hops: Iterable[NextHopRecord],
        hooks: Sequence[str],
        services: Services,
        built: Mapping[BuildKey, Built],
        objects: Mapping[str, Any],
    ) -> None:
        self.services, self.built, self.objects, self.hooks = services, built, objects, hooks
        self.cubes: dict[str, CubeRecord] = {}
        self.stubs: dict[str, TrampolineRecord] = {}
        self.firsts: dict[_Way, ProgramRecord] = {}
        self.ports: Counter[str] = Counter()
        self.hops: dict[tuple[str, str], dict[int, str]] = {}
        for record in state.values():
            if isinstance(record, TrampolineRecord):
                self.stubs[record.path] = record
            elif isinstance(record, PortRecord):
                self.ports[record.cube] += 1
            elif isinstance(record, ProgramRecord):
                if not record.index:
                    self.firsts[record.cube, record.side, record.direction] = record
            elif isinstance(record, CubeRecord):
                self.cubes[record.name] = record
        for hop in hops:
            self.hops.setdefault((hop.cube, hop.side), {})[hop.row] = hop.target
        self._code: dict[tuple[BuildKey, str], _Code | None] = {}

    def chains(self) -> dict[str, tuple[ChainPart, ...]]:
        """The parts of every stub that packets can enter at; none for stubs inside a chain."""
        found: dict[str, tuple[ChainPart, ...]] = {}
        led_to = {target for hops in self.hops.values() for target in hops.values()}
        waiting = [*(path for path in self.stubs if path not in led_to), *self.hooks]
        cut_off: set[str] = set()  # the beginnings of what was too long for one program: linked even if one cube is left
        while waiting:
            path = waiting.pop()
            stub = self.stubs.get(path)
            if stub is None or path in found:
                continue
            chain, last, is_cut = self._follow(stub) if (stub.cube, stub.side) in self.hops else ((), stub, False)
            found[path] = chain if len(chain) > 1 or path in cut_off else ()
            following = [target for _, target in self._ways_on(last)]
            cut_off.update(following if found[path] and is_cut else ())
            waiting += following
        return found

    def _follow(self, head: TrampolineRecord) -> tuple[tuple[ChainPart, ...], TrampolineRecord, bool]:
        """The parts from a stub on, the stub of the last cube (`head` itself if it cannot be linked), and whether more would be
        linked if there was room."""
        met: list[tuple[TrampolineRecord, ProgramRecord]] = []
        rows: list[int] = []
        seen: set[_Way] = set()
        tables: set[_Table] = set()
        size, stub, is_cut = 0, head, False
        while (code := self._linkable(stub)) is not None:
            tables.update((stub.cube if own else "", stub.side if sided else "", name) for name, own, sided in code.tables)
            size += code.size
            is_cut = len(met) == MOST_CUBES or len(tables) > MOST_TABLES or size > MOST_INSTRUCTIONS
            if is_cut:
                break
            met.append((stub, self.firsts[_way(stub)]))
            seen.add(_way(stub))
            ways = [(r, self.stubs[t]) for r, t in self._ways_on(stub) if t in self.stubs]
            ways = [(r, on) for r, on in ways if _way(on) not in seen]
            if not code.leaves or len(ways) != 1 or ways[0][1].flavour != head.flavour:
                break
            row, stub = ways[0]
            rows.append(row)
        if not met:
            return (), head, False
        parts = (
            ChainPart(at.cube, at.side, at.direction, at.index, row, made.object, made.constants)
            for (at, made), row in zip(met, [*rows[: len(met) - 1], _LAST], strict=True)
        )
        return tuple(parts), met[-1][0], is_cut

    def _ways_on(self, stub: TrampolineRecord) -> Iterator[tuple[int, str]]:
        """(row, stub) of every hop by which a packet that entered at a stub may continue in another program."""
        hops = self.hops.get((stub.cube, stub.side))
        if not hops:
            return iter(())
        service = self.services.get(self.cubes[stub.cube].service) if stub.cube in self.cubes else None
        if service is not None and service.kind == "transparent":
            rows: Iterable[int] = (stub.index ^ 1,)
        elif stub.direction == "egress":
            rows = (pins.AFTER_EGRESS | stub.index,)
        else:
            rows = [row for row in sorted(hops) if not row & pins.AFTER_EGRESS and row != stub.index]
        return ((row, hops[row]) for row in rows if row in hops)

    def _linkable(self, stub: TrampolineRecord) -> _Code | None:
        """The code of the program behind a stub, if it can be linked."""
        record, cube = self.firsts.get(_way(stub)), self.cubes.get(stub.cube)
        if record is None or cube is None or not cube.fuse or self.ports[cube.name] > MOST_PORTS or stub.direction == pins.INJECT:
            return None
        kind = cube.build_key, record.object
        if kind not in self._code:
            self._code[kind] = self._code_of(cube, record.object)
        return self._code[kind]

    def _code_of(self, cube: CubeRecord, object: str) -> _Code | None:
        whole, compiled = self.built.get(cube.build_key), self.objects.get(object)
        if whole is None or compiled is None:
            return None
        used = used_tables(compiled)
        if used & {"pcn_entry", *pins.PER_GENERATION}:
            return None
        scopes = {name: scope_of(compiled.tables[name], whole.objects.values()) for name in used}
        tables = ((name, scope != PUBLIC and name not in pins.SHARED, name in pins.PER_SIDE) for name, scope in scopes.items())
        return _Code(len(compiled.insns) // 8, "pcn_hops" in used, tuple(tables))


def _way(stub: TrampolineRecord) -> _Way:
    return stub.cube, stub.side, stub.direction
