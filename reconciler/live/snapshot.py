"""One read of a bpffs root: what was found so far, and what is needed to name it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from reconciler.graph.parts import Built
from reconciler.graph.records import GONE, Record, RecordGroup, State, TrampolineRecord
from reconciler.kernel.reader import Reader
from reconciler.model import BuildKey, family_of
from reconciler.service.model.rows import TableRows
from reconciler.service.registry import Services

Wire = tuple[str, str, int, int, int]
"""A cube's side and row of its hops, their kind, and the netdev's or the program's number."""


@dataclass(frozen=True, slots=True)
class Flooded:
    """The members of a cube's flood table as in the kernel: row, index of the netdev, index of the netdev by which copies
    come back (0: none), and whether the first one is the far end of a pair."""

    cube: str
    side: str
    members: tuple[tuple[int, int, int, bool], ...]


@dataclass(frozen=True, slots=True)
class Ends:
    """The parts of a cube's records that depend on other cubes: the targets of its wires, the netdevs of its flood members,
    and of each of its chains whether all tables that it uses are still in use."""

    targets: list[str]
    members: list[tuple[str, str]]
    intact: list[bool]


@dataclass(slots=True)
class Snapshot:
    """One poll of one root while it is being read; what it found becomes a `Live`. `stubs` names stubs by program id."""

    reader: Reader
    services: Services
    build: Callable[[BuildKey], Built | None]
    netdevs: Mapping[str, Any]
    names: Mapping[int, str]
    state: bool = False
    records: State = field(default_factory=dict)
    generations: dict[str, int] = field(default_factory=dict)
    ports: dict[str, dict[str, int]] = field(default_factory=dict)
    tables: dict[str, dict[str, dict[bytes, bytes]]] = field(default_factory=dict)
    published: dict[str, dict[str, Any]] = field(default_factory=dict)
    recorded: set[str] = field(default_factory=set)
    stubs: dict[int, str] = field(default_factory=dict)
    flooded: tuple[Flooded, ...] = ()
    public: State = field(default_factory=dict)  # tables of the whole host
    uses: dict[tuple[str, str], set[int]] = field(default_factory=dict)  # ids of the tables that a side of a cube uses
    in_use: set[int] = field(default_factory=set)  # ids of the tables that the pinned programs use
    chains: list[tuple[TrampolineRecord, tuple[int, ...]]] = field(
        default_factory=list
    )  # and the ids of the tables that each uses
    orphans: list[str] = field(default_factory=list)
    wires: list[Wire] = field(default_factory=list)
    group: tuple[Ends, RecordGroup] | None = None  # a cube's records, and what of them others have a say in
    seals: dict[BuildKey, frozenset[str]] = field(default_factory=dict)
    shapes: dict[BuildKey, Mapping[str, tuple[Any, TableRows]]] = field(default_factory=dict)

    def apart(self) -> Snapshot:
        """The same poll, for one cube: results are stored in it alone."""
        to = self.reader, self.services, self.build, self.netdevs, self.names, self.state
        return Snapshot(*to, seals=self.seals, shapes=self.shapes)

    def lead(self, wires: list[Wire], flooded: tuple[Flooded, ...]) -> None:
        """Say of one cube where its packets go."""
        if self.wires is not wires or self.flooded is not flooded:
            self.wires, self.flooded, self.group = wires, flooded, None

    def take(self, own: Snapshot) -> None:
        """Add the results of one cube, but for its records, which may depend on others."""
        self.records.update(own.public)
        self.generations.update(own.generations)
        self.ports.update(own.ports)
        self.tables.update(own.tables)
        self.published.update(own.published)
        self.recorded.update(own.recorded)
        self.stubs.update(own.stubs)
        self.orphans += own.orphans

    def compiled(self, about: Mapping[str, Any]) -> frozenset[str]:
        """Seals of the objects by which a cube's tables are decoded."""
        key = key_of(about)
        if key not in self.seals:
            built = self.build(key) if self.services.get(key.service) else None
            self.seals[key] = frozenset(made.seal for made in built.objects.values()) if built else frozenset()
        return self.seals[key]

    def add(self, records: Iterable[Record]) -> None:
        for record in records:
            self.records[record.address] = record

    def netdev(self, index: int) -> str:
        return self.names.get(index, f"{GONE}#{index}") if index else GONE


def key_of(about: Mapping[str, Any]) -> BuildKey:
    """What a cube's programs were compiled for."""
    return BuildKey(about.get("service", ""), family_of(about.get("type", "TC")), about.get("sources", ""))
