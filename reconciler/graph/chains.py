"""Which cubes run as one program. Pure: reads a desired graph, and says of each stub what is linked into it.

From a stub that no cube leads to, or a branching one, one goes from cube to cube while there is but one way on. What is met is
linked into that stub, in order, and runs without a jump between programs. Every other way out of a cube stays a hop. Whether a
netdev is there makes no difference, so its coming and going loads nothing.

A cube is left out, and entered by its entry as ever, if it says `fuse: false`, if it goes on in other programs of its own, or if
it has so many ports that its exchange would be that of as many programs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass, replace
from typing import Any

from reconciler import pins
from reconciler.graph.intend import Built
from reconciler.graph.records import CubeRecord, HookRecord, HopRecord, Part, PortRecord, ProgramRecord, State, StubRecord
from reconciler.graph.tables import scope_of, used_tables
from reconciler.graph.wiring import INWARD, OUTWARD
from reconciler.service import Services

MOST_PORTS = 8  # of a cube that is linked: it is in about two programs for each
MOST_CUBES = 32
MOST_INSTRUCTIONS = 8192
MOST_TABLES = 63  # the kernel allows a program 64 maps, and the chain has one of its own
_LAST = -1  # the row of a part that nothing follows


@dataclass(frozen=True, slots=True)
class _First:
    """A cube's program that a stub leads to; `tables` are the pins of what it uses, `leaves` whether it looks at its hops."""

    record: ProgramRecord
    size: int
    leaves: bool
    tables: frozenset[str]


_Way = tuple[str, str, str]  # (cube, side, direction): a cube is in a chain once in each direction


def fuse(state: State, services: Services, built: Mapping[tuple[str, str], Built], objects: Mapping[str, Any]) -> None:
    """Give every stub of a desired graph its chain. `built` by (service, 'TC'|'XDP'), `objects` by digest."""
    fuser = _Fuser(state, services, built, objects)
    for stub, parts in fuser.chains().items():
        record = fuser.stubs[stub]
        chain = digest(parts) if parts else ""
        state[record.address] = replace(record, chain=chain, parts=parts)


def digest(parts: Iterable[Part]) -> str:
    """What a chain is made of, as 16 bytes in hex: it is kept in the chain's own map."""
    said = json.dumps([astuple(replace(part, constants=b"")) for part in parts], default=bytes.hex)
    words = hashlib.sha256(said.encode())
    for part in parts:
        words.update(part.constants + b"/")
    return words.hexdigest()[:32]


class _Fuser:
    def __init__(
        self, state: State, services: Services, built: Mapping[tuple[str, str], Built], objects: Mapping[str, Any]
    ) -> None:
        self.services, self.built, self.objects = services, built, objects
        self.cubes = {r.name: r for r in state.values() if isinstance(r, CubeRecord)}
        self.stubs = {r.path: r for r in state.values() if isinstance(r, StubRecord)}
        self.hooks = [r.stub for r in state.values() if isinstance(r, HookRecord)]
        self.firsts = {(r.cube, r.side, r.direction): r for r in state.values() if isinstance(r, ProgramRecord) and not r.index}
        self.ports: dict[str, int] = {}
        self.hops: dict[tuple[str, str], dict[int, str]] = {}
        for record in state.values():
            if isinstance(record, PortRecord):
                self.ports[record.cube] = self.ports.get(record.cube, 0) + 1
            elif isinstance(record, HopRecord) and record.kind == "program":
                self.hops.setdefault((record.cube, record.side), {})[record.row] = record.target
        self._known: dict[_Way, _First | None] = {}

    def chains(self) -> dict[str, tuple[Part, ...]]:
        """The parts of every stub that packets are known to come to; none of what is only passed on the way."""
        found: dict[str, tuple[Part, ...]] = {}
        led_to = {target for hops in self.hops.values() for target in hops.values()}
        waiting = [*(path for path in self.stubs if path not in led_to), *self.hooks]
        while waiting:
            path = waiting.pop()
            stub = self.stubs.get(path)
            if stub is None or path in found:
                continue
            chain, last = self._follow(stub)
            found[path] = chain if len(chain) > 1 else ()
            waiting += [target for _, target in self._ways_on(last)]
        return found

    def _follow(self, head: StubRecord) -> tuple[tuple[Part, ...], StubRecord]:
        """The parts from a stub on, and the stub of the last cube: `head` itself if it cannot be linked."""
        parts: list[Part] = []
        seen: set[_Way] = set()
        tables: set[str] = set()
        size, row, stub, last = 0, _LAST, head, head
        while (first := self._first(stub)) is not None:
            tables |= first.tables
            size += first.size
            if len(parts) == MOST_CUBES or len(tables) > MOST_TABLES or size > MOST_INSTRUCTIONS:
                break
            if parts:
                parts[-1] = replace(parts[-1], row=row)
            made = first.record
            parts.append(Part(stub.cube, stub.side, stub.direction, stub.index, _LAST, made.object, made.constants))
            seen.add(_way(stub))
            last = stub
            ways = [(r, t) for r, t in self._ways_on(stub) if t in self.stubs and _way(self.stubs[t]) not in seen]
            if not first.leaves or len(ways) != 1 or self.stubs[ways[0][1]].flavour != head.flavour:
                break
            row, stub = ways[0][0], self.stubs[ways[0][1]]
        return tuple(parts), last

    def _ways_on(self, stub: StubRecord) -> Iterator[tuple[int, str]]:
        """(row, stub) of every hop by which a packet that came by a stub may go on in another program."""
        hops = self.hops.get((stub.cube, stub.side), {})
        service = self.services.get(self.cubes[stub.cube].service) if stub.cube in self.cubes else None
        if service is not None and service.kind == "transparent":
            rows: Iterable[int] = (INWARD,) if stub.direction == "ingress" else (OUTWARD,)
        elif stub.direction == "egress":
            rows = (pins.AFTER_EGRESS + stub.index,)
        else:
            rows = [row for row in sorted(hops) if row < pins.AFTER_EGRESS and row != stub.index]
        return ((row, hops[row]) for row in rows if row in hops)

    def _first(self, stub: StubRecord) -> _First | None:
        """The program that a stub leads to, if it can be linked."""
        way = _way(stub)
        if way not in self._known:
            self._known[way] = self._linkable(way)
        return self._known[way]

    def _linkable(self, way: _Way) -> _First | None:
        record, cube = self.firsts.get(way), self.cubes.get(way[0])
        if record is None or cube is None or not cube.fuse or self.ports.get(cube.name, 0) > MOST_PORTS:
            return None
        whole = self.built.get((cube.service, "TC" if cube.type == "TC" else "XDP"))
        compiled = self.objects.get(record.object)
        if whole is None or compiled is None or way[2] == pins.INJECT:
            return None
        used = used_tables(compiled)
        if used & {"pcn_entry", *pins.PER_GENERATION}:
            return None
        return _First(record, len(compiled.insns) // 8, "pcn_hops" in used, frozenset(_pins(compiled, used, whole, way)))


def _pins(compiled: Any, used: Iterable[str], whole: Built, way: _Way) -> Iterator[str]:
    for name in used:
        yield pins.table(way[0], name, scope_of(compiled.tables[name], whole.objects.values()), way[1])


def _way(stub: StubRecord) -> _Way:
    return stub.cube, stub.side, stub.direction
