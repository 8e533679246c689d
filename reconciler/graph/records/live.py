"""The kernel as it was read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reconciler import pins
from reconciler.graph.records.state import State
from reconciler.graph.records.table import TableRecord
from reconciler.graph.records.topology import TopologyRecord
from reconciler.model import Tap

GONE = "(gone)"  # stands for a netdev or a program that is no longer there


@dataclass(frozen=True, slots=True)
class Live:
    """The kernel as it was read; immutable. Records by address, objects without a record, and the netdevs.

    `orphans` are paths below the root that an interrupted apply left behind; nothing refers to them. `generations` is the
    number of each cube's current generation, and `ports` has the indices of its ports; `documents` are the applied ones,
    which are among the records, and `unreadable` the names of those that cannot be parsed; `netdevs` has every netdev of this
    namespace by name; `tables` the raw rows of tables by cube. `adoptable` are tables that lost their pin but are in use: map
    ids by path, and, in `adopted`, their content. `overfull` are the pins of tables with more rows than their wanted size.
    `sealed` topologies are in quarantine, for the reason given (see `live.quarantine`), and not in the state. `recorded` are
    the digests under which programs are recorded. `namespaces` are those that the applied documents name, with their
    topologies; `network` is the network as compared with what was applied, where `state` has it as compared with what is
    wanted. `published` are the facts that workers published, by cube. `format` is that of the layout in bpffs. `taps` are
    those that running commands request.
    """

    state: State = field(default_factory=dict)
    orphans: tuple[str, ...] = ()
    generations: Mapping[str, int] = field(default_factory=dict)
    ports: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    documents: tuple[TopologyRecord, ...] = ()
    unreadable: tuple[str, ...] = ()
    netdevs: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, Mapping[str, dict[bytes, bytes]]] = field(default_factory=dict)
    adoptable: Mapping[str, int] = field(default_factory=dict)
    sealed: Mapping[str, str] = field(default_factory=dict)
    adopted: Mapping[str, TableRecord] = field(default_factory=dict)
    overfull: frozenset[str] = frozenset()
    recorded: frozenset[str] = frozenset()
    namespaces: Mapping[str, str] = field(default_factory=dict)
    network: State = field(default_factory=dict)
    published: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    format: int = pins.FORMAT
    taps: tuple[Tap, ...] = ()
