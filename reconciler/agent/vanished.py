"""Applied documents that vanished from the kernel while all that they describe is still there: they are restored."""
from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from reconciler.document import Document
from reconciler.engine.apply import ApplyResult, Options, plan_for
from reconciler.graph.documents import stored
from reconciler.graph.records import CubeRecord, LinkRecord
from reconciler.live.applied import applied_document


class Vanished(Exception):
    """An applied document is missing in the kernel, but its objects are there."""


def vanished(seen: ApplyResult, applied: Collection[str], drop: Collection[str]) -> set[str]:
    """`applied` topologies with objects in the kernel, but without a document. `drop`: those to be deleted."""
    kept = {record.name for record in seen.session.live.documents}
    missing = set(applied) - kept - set(drop) - {topology.name for topology in seen.topologies}
    if not missing:
        return set()
    live = seen.session.live.state.values()
    owners = {record.topology for record in live if isinstance(record, CubeRecord | LinkRecord)}
    return owners & missing


def lost_documents(
    seen: ApplyResult, applied: Mapping[str, str], documents: Sequence[Document], options: Options
) -> list[Document]:
    """The documents to restore. A deleted topology does not count, even after an interrupted delete: its hooks no longer exist.
    `applied`: texts by name."""
    texts = {name: applied[name] for name in sorted(vanished(seen, applied, options.drop))}
    lost = [applied_document(stored(text), name) for name, text in texts.items()]
    if lost and len(plan_for([*documents, *lost], options).plan.steps) > len(lost):
        return []
    return lost
