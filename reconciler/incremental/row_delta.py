"""Row deltas: rows of a table that record in which few keys they differ from others.

    new = row_delta(old, gone, more)   # old's rows without some keys and with more rows
    may_differ(old, new)               # these keys; None for rows of which nothing is known

An edit of one rule of 100,000 writes five rows. To find them by comparing all rows would cost more than the rest of the edit.
So rows that are derived from others record the keys at which they may differ from those, and transitively from their sources.
A full comparison of two records its result, so that live and desired rows are compared once, and from then on by their edits.
The others are recorded by marks, which keep none of them alive.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

MANY = 1000  # rows; fewer are soon compared
_OTHERS, _MOST = 8, 1024  # that are remembered by one, and keys at which it may differ from one of them
_NONE: frozenset[bytes] = frozenset()
Keys = frozenset[bytes]
Rows = dict[bytes, bytes]


class RowDelta(dict[bytes, bytes]):
    """Immutable rows. `known` are the keys at which they may differ from others, by the marks of those, the latest first.
    `source` are rows without a mark from which they are derived: they agree at all keys but `keys_of_edit`. Only the latest
    edit has it, so that old rows are freed."""

    __slots__ = ("keys_of_edit", "known", "mark", "source")
    __hash__ = None  # as a dict's

    def __init__(self, rows: Mapping[bytes, bytes]) -> None:
        super().__init__(rows)
        self.mark = object()
        self.known: dict[object, Keys] = {}
        self.source: Mapping[bytes, bytes] | None = None
        self.keys_of_edit: Keys = _NONE

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, dict):
            return False
        keys = may_differ(self, other)
        if keys is not None:
            same = all(self.get(key) == other.get(key) for key in keys)
            if same and keys:
                learn(self, other, ())
            return same
        same = super().__eq__(other)
        if same:
            learn(self, other, ())
        return same

    def __ne__(self, other: object) -> bool:
        return not self == other

    def others(self) -> Mapping[object, Keys]:
        """Like `known`, including itself."""
        return {self.mark: _NONE, **self.known}


def row_delta(old: Mapping[bytes, bytes], gone: Iterable[bytes], more: Mapping[bytes, bytes]) -> RowDelta:
    """`old` without the keys that no longer exist, and then with more rows."""
    gone = list(gone)
    made = RowDelta(old)
    for key in gone:
        made.pop(key, None)
    made.update(more)
    keys = frozenset(key for key in (*gone, *more) if made.get(key) != old.get(key))
    if isinstance(old, RowDelta):
        made.known = _latest({mark: keys | theirs for mark, theirs in old.others().items()})
        made.source, made.keys_of_edit, old.source = old.source, old.keys_of_edit | keys, None
    else:
        made.source, made.keys_of_edit = old, keys
    return made


def may_differ(old: Mapping[bytes, bytes], new: Mapping[bytes, bytes]) -> Collection[bytes] | None:
    """The keys at which two may differ; at all others they agree. None: unknown."""
    if new is old:
        return ()
    if not isinstance(old, RowDelta) or not isinstance(new, RowDelta):
        edit, plain = (old, new) if isinstance(old, RowDelta) else (new, old)
        return edit.keys_of_edit if isinstance(edit, RowDelta) and edit.source is plain else None
    if new.source is old.source is not None:
        return old.keys_of_edit | new.keys_of_edit
    ours, theirs = old.others(), new.others()
    return min((ours[mark] | theirs[mark] for mark in ours.keys() & theirs.keys()), key=len, default=None)


def learn(one: Mapping[bytes, bytes], other: Mapping[bytes, bytes], keys: Collection[bytes]) -> None:
    """All rows of the two were compared, and they differ at these keys."""
    if isinstance(one, RowDelta) and isinstance(other, RowDelta):
        one.known = _latest({other.mark: frozenset(keys), **one.known})
        other.known = _latest({one.mark: frozenset(keys), **other.known})


def marked(rows: Rows) -> Rows:
    """The same rows; if they are many, so that it can be remembered from which others they differ where."""
    return RowDelta(rows) if len(rows) >= MANY and not isinstance(rows, RowDelta) else rows


def _latest(known: Mapping[object, Keys]) -> dict[object, Keys]:
    few = [(mark, keys) for mark, keys in known.items() if len(keys) <= _MOST]
    return dict(few[:_OTHERS])
