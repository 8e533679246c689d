"""Values of the desired graph: compiled services, what one cube contributes, and the graph itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from reconciler import pins
from reconciler.graph.records import Record, State
from reconciler.graph.tables import merged
from reconciler.model import Cube
from reconciler.service.model.codec import Env
from reconciler.service.model.rows import TableRows


@dataclass(frozen=True, slots=True)
class ProgramSlot:
    """One program of a cube: which side, direction and µCube index, and the flavour of its compiled object."""

    side: str
    direction: str
    index: int
    flavour: str

    @property
    def row(self) -> int:
        """Its row in the entry array and in `calls`."""
        return pins.entry_row(self.direction, self.index)


@dataclass(frozen=True, slots=True)
class Built:
    """A cube type compiled: its objects by slot. `tables` are all tables that they use, by C name."""

    objects: Mapping[ProgramSlot, Any]

    @property
    def tables(self) -> dict[str, Any]:
        return merged(self.objects.values())

    @property
    def seals(self) -> list[str]:
        return [compiled.seal for compiled in self.objects.values()]


class LiveCubes(NamedTuple):
    """The live cubes, each by its name: the rows of their tables, the facts that their workers published, by address the
    recorded digests of programs that are equivalent to today's, and the indices of their ports."""

    rows: Mapping[str, Mapping[str, Mapping[bytes, bytes]]] = MappingProxyType({})
    published: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
    recorded: Mapping[str, Mapping[str, str]] = MappingProxyType({})
    indices: Mapping[str, Mapping[str, int]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class CubePart:
    """The share of one cube in the graph: its own records, and `rows` for the tables of the objects that it runs (`made`,
    some of its service's `whole`). `recorded` are its programs that the kernel has under another digest, `sizes` the sizes of
    tables that differ from the C's, and `places` the names of a transparent cube's, if it may be at several. `edition` is its
    service's."""

    cube: Cube
    env: Env
    made: Built
    whole: Built
    records: list[Record]
    rows: Mapping[str, TableRows]
    recorded: Mapping[str, str]
    sizes: Mapping[str, int] = field(default_factory=dict)
    places: tuple[str, ...] | None = None
    edition: str = ""

    def holds_for(
        self, cube: Cube, whole: Built, indices: Mapping[str, int], recorded: Mapping[str, str], rows: Any, facts: Any
    ) -> bool:
        """Whether a new build would have the same result. `indices` are those of the live cube's ports. A Python half may
        also read live `rows` (None: there is no half), and the `facts` that it wants."""
        same = self.cube is cube and self.whole is whole and self.env.ports == indices and self.recorded == recorded
        return same and (rows is None or self.env.live == rows) and self.env.facts == facts


@dataclass(frozen=True, slots=True)
class Desired:
    """The desired graph; `pending` are (cube, port, netdev) that wait for a netdev; `ways` the hops and hooks that there
    would be if none did; `notes` are for the user; `linked`: whether its stubs have their chains, and `chains` are the
    addresses of those that have one. Once built, it is replaced, never changed."""

    state: State = field(default_factory=dict)
    pending: tuple[tuple[str, str, str], ...] = ()
    ways: tuple[Record, ...] = ()
    notes: tuple[str, ...] = ()
    indices: Mapping[str, dict[str, int]] = field(default_factory=dict)
    linked: bool = False
    chains: tuple[str, ...] = ()


def by_address(records: Iterable[Record]) -> dict[str, Record]:
    return {record.address: record for record in records}
