"""Quarantine of applied topologies that cannot be read here: left as they are, without affecting others.

A host may hold cubes of a service that this caller did not name (--services), or a document that another version of pcn found
right and this one does not. They cannot be checked or compared, so nothing of theirs is touched; every other topology can be
applied, shown and healed as usual, and these themselves can be applied again or deleted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from reconciler import pins
from reconciler.check import check, shared
from reconciler.document import Document
from reconciler.errors import DocumentError
from reconciler.graph.documents import StoredDocument
from reconciler.graph.records import (
    CubeRecord,
    HookRecord,
    LinkRecord,
    Live,
    NamespaceRecord,
    PromiscuousRecord,
    Record,
    State,
    TopologyRecord,
)
from reconciler.incremental.memo import derived
from reconciler.model import Topology
from reconciler.service.registry import Services

UNREADABLE = "its document was written by another version of pcn, or is damaged"

HELD = "newer code would reset its state"


def of_unknown_services(documents: Iterable[TopologyRecord], services: Services) -> dict[str, str]:
    """Those of the applied documents that have a cube of an unknown service, each with what is to be reported of it."""
    found = {}
    for record in documents:
        unknown = sorted(name for name in services_of(record.stored) if services.get(name) is None)
        if unknown:
            found[record.name] = f"service {', '.join(map(repr, unknown))} is not here (--services DIR)"
    return found


def readable(documents: Sequence[Document], services: Services) -> tuple[list[Topology], dict[str, str]]:
    """The topologies of applied documents, and, by file, what is wrong with those that cannot be read, and in consequence
    with those that name their cubes."""
    wrong: dict[str, str] = {}
    left = [shared(document, services) for document in documents]
    while left:
        try:
            return check(left, services)[0], wrong
        except DocumentError as error:
            said = {problem.where.file: problem.message for problem in reversed(error.problems) if problem.where}
            told = {document.file: said[document.file] for document in left if document.file in said}
            wrong |= told or {document.file: str(error) for document in left}
            left = [document for document in left if document.file not in wrong]
    return [], wrong


@derived
def services_of(document: StoredDocument) -> frozenset[str]:
    """Names of the services that an applied document requests."""
    return frozenset(cube["service-name"] for cube in document.data.get("spec", {}).get("cubes", ()))


def sealed(live: Live, reasons: Mapping[str, str]) -> Live:
    """Without the topologies that `reasons` names, and with why."""
    if not reasons:
        return live
    state = without(live.state, reasons)
    documents = tuple(record for record in live.documents if record.name not in reasons)
    ports = {cube: ports for cube, ports in live.ports.items() if f"cube/{cube}" in state}
    return replace(live, sealed={**live.sealed, **reasons}, state=state, documents=documents, ports=ports)


def without(state: State, topologies: Collection[str]) -> State:
    """A state without all that these topologies own."""
    if not topologies:
        return state
    cubes = {record.name for record in state.values() if isinstance(record, CubeRecord) and record.topology in topologies}
    homes = tuple(f"{pins.cube(name)}/" for name in cubes)
    return {address: record for address, record in state.items() if not _owned(record, topologies, cubes, homes)}


def _owned(record: Record, topologies: Collection[str], cubes: Collection[str], homes: tuple[str, ...]) -> bool:
    if isinstance(record, TopologyRecord | CubeRecord):
        return record.name in (topologies if isinstance(record, TopologyRecord) else cubes)
    if isinstance(record, NamespaceRecord | LinkRecord | PromiscuousRecord):
        return record.topology in topologies
    if isinstance(record, HookRecord):
        return bool(homes) and record.stub.startswith(homes)
    return getattr(record, "cube", None) in cubes
