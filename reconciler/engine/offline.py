"""A plan between two sets of documents, without a kernel: for a review, without access to the host.

The old documents are assumed to be exactly what a kernel holds, with every netdev that either side names; the plan is then
computed as usual. It lacks what only the host has: drift, other netdevs, learned state, facts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reconciler.check import check
from reconciler.document import Document
from reconciler.engine.apply import ApplyResult, Options
from reconciler.engine.builder import Builder, by_digest
from reconciler.engine.session import Reconciler, Session
from reconciler.engine.states import configs_of
from reconciler.graph.diff import diff, without_documents
from reconciler.graph.records import CubeRecord, Live, State, TableRecord, TopologyRecord
from reconciler.model import Topology
from reconciler.plan import make_plan
from reconciler.plan.context import Surroundings


@dataclass(frozen=True, slots=True)
class AssumedNetdev:
    """A netdev that a document names, assumed to exist and to carry Ethernet frames."""

    name: str
    alias: str = ""
    carries_ethernet: bool = True
    other_names: tuple[str, ...] = ()
    kind: str = ""
    link_type: int = 1  # ARPHRD_ETHER


def plan_between(before: Sequence[Document], after: Sequence[Document], options: Options) -> ApplyResult:
    """The plan of applying `after` where `before` is applied. Raises DocumentError, CompileError."""
    old, _ = check(before, options.services, merge=options.merge) if before else ([], [])
    new, warnings = check(after, options.services, merge=options.merge)
    netdevs = {name: AssumedNetdev(name) for name in sorted(_peers([*old, *new]))}
    reconciler = Reconciler(options.root, options.services, Builder(options.services, options.compiling))
    live = _as_live(reconciler, old, netdevs)
    desired = reconciler.build_desired(new, live, facts={})
    objects = by_digest(reconciler.builder.built)
    around = Surroundings({}, configs_of(old), configs_of(new))
    plan = make_plan(desired, live, options.services, reconciler.builder.built, objects, around)
    pending = without_documents(diff(desired.state, live.state))
    session = Session(desired, live, plan, pending, objects=objects, built=reconciler.builder.built)
    return ApplyResult(session, tuple(warnings), tuple(new), tuple(new))


def _as_live(reconciler: Reconciler, topologies: Sequence[Topology], netdevs: dict[str, AssumedNetdev]) -> Live:
    """The live state of a kernel that holds these topologies."""
    bare = Live(netdevs=dict(netdevs))
    held = reconciler.build_desired(topologies, bare, facts={})
    return Live(
        state=held.state,
        generations={record.name: 1 for record in held.state.values() if isinstance(record, CubeRecord)},
        ports={cube: dict(indices) for cube, indices in held.indices.items()},
        documents=tuple(record for record in held.state.values() if isinstance(record, TopologyRecord)),
        netdevs=dict(netdevs),
        tables=_rows(held.state),
    )


def _rows(state: State) -> dict[str, dict[str, dict[bytes, bytes]]]:
    found: dict[str, dict[str, dict[bytes, bytes]]] = {}
    for record in state.values():
        if isinstance(record, TableRecord) and record.rows is not None:
            found.setdefault(record.cube, {})[record.name] = dict(record.rows)
    return found


def _peers(topologies: Iterable[Topology]) -> set[str]:
    """The netdevs that ports and attachments name."""
    ports = (port.peer for topology in topologies for cube in topology.cubes for port in cube.ports)
    named = {peer for peer in ports if peer and ":" not in peer}
    return named | {item.netdev for topology in topologies for item in topology.attachments if item.netdev}
