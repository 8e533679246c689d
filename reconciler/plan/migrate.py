"""Whether what the datapath learned in a table can be carried over to one of another shape. Pure."""

from __future__ import annotations

from typing import Any

from reconciler.graph.memory_estimate import ARRAY, HASH, LPM_TRIE, LRU_HASH, LRU_PERCPU_HASH, PERCPU_ARRAY, PERCPU_HASH
from reconciler.graph.records import TableRecord
from reconciler.graph.tables import PUBLIC
from reconciler.plan.context import Context
from reconciler.plan.operations import MigrateRows
from reconciler.plan.steps import Disruption, Rank, Step

_ALIKE = ({HASH, LRU_HASH}, {PERCPU_HASH, LRU_PERCPU_HASH}, {ARRAY}, {PERCPU_ARRAY}, {LPM_TRIE})
_PER_CPU = {PERCPU_HASH, LRU_PERCPU_HASH, PERCPU_ARRAY}


def disruption_of(live: TableRecord, record: TableRecord, context: Context) -> Disruption:
    """The cost of recreating a table: none if every row worth keeping is carried over."""
    if record.rows is not None and not any(byte != 0xFF for byte in record.mask):
        return Disruption.NONE  # all of it is configuration, which is written anew
    if live.path in context.live.overfull or _service(live, record, context) is None:
        return Disruption.STATE_RESET
    return Disruption.NONE


def carry_over(live: TableRecord, record: TableRecord, new: str, old: str, context: Context) -> list[Step]:
    """The steps that carry its rows over; none where that is impossible. `new`: the table's temporary pin; `old`: the final
    pin of the one that it replaces.

    Programs continue to write to the old table until they are exchanged, and running ones finish even then. So all rows are
    copied before any program is loaded, and the changes since just before the exchange, just after it, and when no program
    can be writing any more.
    """
    service = _service(live, record, context)
    if service is None or (record.rows is not None and not any(byte != 0xFF for byte in record.mask)):
        return []
    mask = record.mask if record.rows is not None else b""
    passes = (
        (Rank.POPULATE, "migrate", "what was learned", live.path, new),
        (Rank.CATCH_UP, "migrate", "what was learned meanwhile", live.path, new),
        (Rank.CAUGHT_UP, "migrate", "what was learned until the exchange", live.path, new),
        (Rank.LAST_ROWS, "migrate", "what was learned by packets that were still inside", old, record.path),
    )
    return [
        Step(rank, record.address, action, reason, MigrateRows(source, target, service, record.name, mask))
        for rank, action, reason, source, target in passes
    ]


def _service(live: TableRecord, record: TableRecord, context: Context) -> str | None:
    """The service whose function migrates the rows, '' if they stay as they are; None: there is no migration."""
    (kind, *old, _, _), (wanted, *new, _, _) = live.spec, record.spec
    of_a_service = "/tables/" in record.path or record.path.startswith(f"{PUBLIC}/")  # the framework's are filled by other steps
    rows = any(kind in alike for alike in _ALIKE) and any(wanted in alike for alike in _ALIKE)
    if not of_a_service or not rows or (kind in _PER_CPU) != (wanted in _PER_CPU):
        return None
    if old == new and not live.relaid:
        return "" if any({kind, wanted} <= alike for alike in _ALIKE) else None
    owner = context.services.get(_owner(record, context))
    return owner.name if owner is not None and owner.migration(record.name, *old) is not None else None


def _owner(record: TableRecord, context: Context) -> str:
    """The service that declares a table."""
    if record.cube:
        cube = context.cube(record.cube)
        return cube.service if cube is not None else ""
    for (service, *_), built in context.built.items():
        table: Any = built.tables.get(record.name)
        if table is not None and table.scope == PUBLIC and not table.extern:
            return service
    return ""
