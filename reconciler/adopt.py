"""Tables that lost their pin while programs still use them: found again, so that what they learned is not lost.

A program keeps its tables alive, and the kernel lists them. A lost pin is put back on the very table that is in use.
"""

from __future__ import annotations

from dataclasses import replace

from reconciler import pins
from reconciler.kernel.maps import MapInfo, kernel_name
from reconciler.kernel.reader import Reader, fold_cpus
from reconciler.records import Live, ProgramRecord, State, StubRecord, TableRecord


def adoptable(reader: Reader, live: Live, wanted: State) -> tuple[dict[str, int], dict[str, TableRecord]]:
    """Map ids by the path that has no pin, and what those maps hold."""
    lost = [
        r
        for r in wanted.values()
        if isinstance(r, TableRecord) and r.address not in live.state and (not r.cube or r.cube in live.generations)
    ]
    if not lost:
        return {}, {}
    ids: dict[str, int] = {}
    held: dict[str, TableRecord] = {}
    for record in lost:
        for table in _in_use(reader, live, record):
            spec = table.spec
            if (
                table.name == kernel_name(record.name).decode()
                and (spec.type, spec.key_size, spec.value_size, spec.max_entries, spec.flags) == record.spec
            ):
                ids[record.path] = table.identity
                held[record.path] = _content(reader, record, table)
    return ids, held


def _in_use(reader: Reader, live: Live, record: TableRecord) -> list[MapInfo]:
    """Every map that the programs of the record's cube use, on the record's side; of any cube for a shared table."""
    found = []
    for other in live.state.values():
        if isinstance(other, ProgramRecord) and record.cube in ("", other.cube) and f"/{other.side}" in f"/{record.path}":
            found += reader.tables_of(f"{pins.generation(other.cube, live.generations[other.cube])}/{other.name}")
        elif isinstance(other, StubRecord) and record.cube in ("", other.cube) and _same_side(other, record):
            found += reader.tables_of(other.path)
    return found


def _same_side(stub: StubRecord, record: TableRecord) -> bool:
    return (pins.TWIN in record.path) == (stub.side == pins.TWIN)


def _content(reader: Reader, record: TableRecord, table: MapInfo) -> TableRecord:
    if record.rows is None:
        return replace(record, rows=None)
    rows = {}
    for key, raw in reader.rows_by_id(table.identity).items():
        value = fold_cpus(table.spec, raw)
        rows[key] = bytes(v & m for v, m in zip(value, record.mask, strict=False))
    return replace(record, rows={key: value for key, value in rows.items() if not record.sparse or any(value)})
