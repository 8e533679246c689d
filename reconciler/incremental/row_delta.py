"""Row deltas: rows of a table that differ from others in a few keys, and know in which.

    new = edited(old, gone, more)   # old's rows without some keys and with more rows
    may_differ(old, new)            # these keys; None for rows of which nothing is known

An edit of one rule of 100,000 writes five rows. To find them by a comparison of all rows, again and again, would cost more than
all else that the edit takes. Rows that are compared are the very same objects from one look to the next, so it is enough that
those of an edit remember the ones that they were made from.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping


class RowDelta(dict[bytes, bytes]):
    """Rows that nobody changes, made from `source`, with which they agree at all keys but some. Only the latest edit remembers
    its source, so that old rows do not stay for ever."""

    __slots__ = ("keys_of_edit", "source")
    __hash__ = None  # as a dict's

    def __init__(self, rows: Mapping[bytes, bytes], source: Mapping[bytes, bytes], keys: Collection[bytes]) -> None:
        super().__init__(rows)
        self.source: Mapping[bytes, bytes] | None = source
        self.keys_of_edit = keys

    def __eq__(self, other: object) -> bool:
        keys = may_differ(self, other) if isinstance(other, dict) else None
        return all(self.get(key) == other.get(key) for key in keys) if keys is not None else super().__eq__(other)  # type: ignore[attr-defined]

    def __ne__(self, other: object) -> bool:
        return not self == other


def row_delta(old: Mapping[bytes, bytes], gone: Iterable[bytes], more: Mapping[bytes, bytes]) -> RowDelta:
    """`old` without the keys that are gone, and then with more rows."""
    gone = list(gone)
    made = RowDelta(old, old, {*gone, *more})
    for key in gone:
        made.pop(key, None)
    made.update(more)
    if isinstance(old, RowDelta):
        old.source = None
    return made


def may_differ(old: Mapping[bytes, bytes], new: Mapping[bytes, bytes]) -> Collection[bytes] | None:
    """The keys at which two may differ: at all others they are known to agree. None: nothing is known."""
    if new is old:
        return ()
    if isinstance(new, RowDelta) and new.source is old:
        return new.keys_of_edit
    if isinstance(old, RowDelta) and isinstance(new, RowDelta) and new.source is old.source is not None:
        return {*old.keys_of_edit, *new.keys_of_edit}
    return old.keys_of_edit if isinstance(old, RowDelta) and old.source is new else None
