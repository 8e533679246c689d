"""Programs that are recorded under a digest that no program of today has: finds the objects that they were loaded from.

A cube's generation records the object that each program was loaded from. Older versions computed the digest of all metadata,
the names of its file and of fields included; and since then its source may have changed. The object is among those that were
stored when it was applied, or in the cache. If it is equivalent to today's, the program is today's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from reconciler import pins
from reconciler.compiler.object import Object
from reconciler.compiler.struct_layout import is_laid_out_alike
from reconciler.graph.records import Grouped, Live, ProgramRecord, Record, RecordGroup, State, TableRecord
from reconciler.graph.tables import PUBLIC, merged
from reconciler.kernel.reader import Reader
from reconciler.live import stored

Names = Mapping[str, Mapping[str, str]]
"""By cube, the digest under which a program is recorded, by its address."""


def find(reader: Reader, wanted: Iterable[str], today: Iterable[Object]) -> dict[str, Object | None]:
    """The object that is recorded under each of these digests; None if it is lost."""
    from reconciler.compiler import cache

    sealed = {made.seal: made for made in today}
    found: dict[str, Object | None] = {digest: sealed.get(digest) for digest in wanted}
    lacking = {digest for digest, made in found.items() if made is None}
    for made, same in stored.everything(reader) if lacking else ():
        found |= dict.fromkeys(lacking.intersection((made.digest, made.seal, *same)), made)
    for digest in sorted(digest for digest, made in found.items() if made is None):
        found[digest] = cache.with_seal(digest)
    return found


def names(live: Live, known: Mapping[str, Object | None]) -> Names:
    """Of each live program that is recorded under a digest that is not today's, that digest."""
    found: dict[str, dict[str, str]] = {}
    for address, record in live.state.items() if live.recorded & known.keys() else ():
        if isinstance(record, ProgramRecord) and record.object in known:
            found.setdefault(record.cube, {})[address] = record.object
    return found


def laid_out_anew(live: Live, today: Mapping[str, Mapping[str, Any]], known: Mapping[str, Object | None]) -> State:
    """The live state, with those tables marked whose rows have another layout than in `today`'s of the same sizes (by cube
    and name), as far as the objects of the programs that write them are known."""
    marked: dict[str, dict[str, Record]] = {}
    by_path = {record.path: record for record in live.state.values() if isinstance(record, TableRecord)} if known else {}
    for cube, recorded in names(live, known).items():
        then = merged(made for digest in recorded.values() if (made := known[digest]) is not None)
        for name in then.keys() & today.get(cube, {}).keys():
            if not _alike(then[name], today[cube][name]):
                for path in (pins.table(cube, name, then[name].scope), f"{PUBLIC}/{name}"):
                    if (record := by_path.get(path)) is not None:
                        marked.setdefault(record.cube, {})[record.address] = replace(record, relaid=True)
    if isinstance(live.state, Grouped):
        return live.state.but({owner: RecordGroup(live.state.groups[owner] | records) for owner, records in marked.items()})
    return live.state


def _alike(old: Any, new: Any) -> bool:
    return is_laid_out_alike(old.key, new.key) and is_laid_out_alike(old.value, new.value)
