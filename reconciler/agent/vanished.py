"""Applied documents that vanished from the kernel although all that they describe is still there: they are restored."""
from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from reconciler.document import Document
from reconciler.engine.apply import ApplyResult, Options, plan_for
from reconciler.graph.documents import stored
from reconciler.graph.records import CubeRecord, LinkRecord
from reconciler.live.applied import applied_document


class Vanished(Exception):
    """An applied document is not in the kernel any more, though what it describes is."""


def vanished(seen: ApplyResult, applied: Collection[str], drop: Collection[str]) -> set[str]:
    """Topologies that were `applied` and of which the kernel holds objects, but no document. `drop` are to be deleted."""
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
    """Those to be restored. A topology that was deleted is not meant, even if the one who deleted it was killed in the middle:
    its hooks no longer exist. `applied`: texts by name."""
    texts = {name: applied[name] for name in sorted(vanished(seen, applied, options.drop))}
    lost = [applied_document(stored(text), name) for name, text in texts.items()]
    if lost and len(plan_for([*documents, *lost], options).plan.steps) > len(lost):
        return []
    return lost
