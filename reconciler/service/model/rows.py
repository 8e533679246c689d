"""Configuration to table rows, and rows back to configuration, by a model's bindings.

Both directions are pure. They are each other's inverse on configuration leaves; leaves that the datapath owns are masked out
when encoding and decoded on request.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from reconciler.service.model.bindings import Binding, Column
from reconciler.service.model.codec import Env, decode
from reconciler.service.model.entry_rows import is_of_entries_alone, rows_of_entries
from reconciler.service.model.packing import Rows, TableLayout, entries, leaf_at, packer, place

Migrate = Callable[[bytes, bytes], tuple[bytes, bytes] | None]
"""Makes a row (key, value) of today's layout of one of an older layout; None: the row is not kept."""


@dataclass(frozen=True, slots=True)
class TableRows:
    """The configured content of one table: its rows, and which bits of a value configuration owns.

    `sparse`: an array whose all-zero rows count as absent. `staged`: nothing points to a new row before another table is
    written, so rows are written ahead of the commit and deleted after it; a service with many related rows in staged tables,
    which one row of another table points to, changes them all at once. `init`: the bits of a value that are init-only leaves,
    b"" if none is. `state`: no row of it is configuration's; the table exists for the slow path, though no program uses it.
    `entries`: how many rows a table of `pcn:grows` is to hold, if more than there are: an array's numbers have gaps, and
    tables with common numbers grow together. `bits`: a row is bits, each of which represents rows of other tables (a filter
    in front of them): added bits are set before any other row is written, removed ones are cleared after.
    """

    rows: Mapping[bytes, bytes] = field(default_factory=dict)
    mask: bytes = b""
    sparse: bool = False
    staged: bool = False
    init: bytes = b""
    state: bool = False
    entries: int = 0
    bits: bool = False

    def without_zeros(self) -> TableRows:
        """If rows of zeros count as absent, they are removed from the wanted rows, too, since the two cannot be
        distinguished."""
        nothing = bytes(len(self.mask))
        if not self.sparse or nothing not in self.rows.values():
            return self
        return replace(self, rows={key: value for key, value in self.rows.items() if value != nothing})

    def share_of(self, rows: dict[bytes, bytes]) -> dict[bytes, bytes]:
        """The configuration's share of what the table holds."""
        if self.mask != b"\xff" * len(self.mask):
            rows = {key: _masked(value, self.mask) for key, value in rows.items()}
        nothing = bytes(len(self.mask))
        return {key: value for key, value in rows.items() if value != nothing} if self.sparse else rows


def _masked(value: bytes, mask: bytes) -> bytes:
    return (int.from_bytes(value, "little") & int.from_bytes(mask, "little")).to_bytes(len(value), "little")


def encode_rows(
    bound: Sequence[Binding], config: Mapping[str, Any], tables: Mapping[str, TableLayout], env: Env
) -> dict[str, TableRows]:
    """Rows by table name, for every table that a binding names. Raises ValueError with the path of a bad leaf."""
    found: dict[str, TableRows] = {}
    filled: dict[str, Rows] = {}
    alone = Counter(binding.table for binding in bound)
    for binding in bound:
        if binding.table not in tables:
            raise KeyError(f"the model keeps {_where(binding)} in table {binding.table!r}, which the C does not declare")
        layout = tables[binding.table]
        if binding.state:
            continue
        if not binding.is_list and all(column.state for column in binding.values):
            continue  # counters only: nothing of it is configuration
        mask = _mask(binding, layout)
        of_entries = rows_of_entries(binding, layout, config, env) if is_of_entries_alone(binding) else None
        if of_entries is not None and alone[binding.table] == 1:
            found[binding.table] = TableRows(of_entries, mask, layout.type in (2, 6), init=_init_only(binding, layout))
            continue
        rows = filled.setdefault(binding.table, {})
        if of_entries is not None:
            rows.update(of_entries)
        else:
            rows.update(map(packer(binding, layout, env), entries(config, binding.segments)))
        found[binding.table] = TableRows(rows, mask, binding.is_list and layout.type in (2, 6), init=_init_only(binding, layout))
    return found


def _where(binding: Binding) -> str:
    return "/".join(name for name, _ in binding.segments) or "the root"


def _mask(binding: Binding, layout: TableLayout) -> bytes:
    return _bits(layout, (column for column in binding.values if not column.state))


def _init_only(binding: Binding, layout: TableLayout) -> bytes:
    """The bits of init-only leaves of a list's entries; those of the cube itself belong to the cube record."""
    columns = [column for column in binding.values if column.init and not column.state] if binding.is_list else []
    return _bits(layout, columns) if columns else b""


def _bits(layout: TableLayout, columns: Iterable[Column]) -> bytes:
    mask = bytearray(layout.value.size)
    for column in columns:
        offset, size = place(layout.value, column.place)
        mask[offset : offset + size] = b"\xff" * size
    return bytes(mask)


def decode_rows(
    bound: Sequence[Binding],
    live: Mapping[str, Mapping[bytes, bytes]],
    tables: Mapping[str, TableLayout],
    env: Env,
    *,
    state: bool = False,
    said: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Configuration from the tables' content; with `state`, the datapath's leaves and learned rows too, without expired ones.
    In an array, an entry whose row is all zeros cannot be distinguished from none: those in `said` are taken to exist."""
    found = _Decoded(env)
    in_tables = {binding.segments for binding in bound if binding.is_list}
    for binding in bound:
        layout = tables.get(binding.table)
        if layout is None or (binding.state and not state):
            continue
        sources = [binding.table, *([binding.learned] if state and binding.learned else [])]
        in_array = binding.is_list and layout.type in (2, 6)
        zeros = _zero_rows(binding, layout, said or {}, env) if in_array else {}
        mask = _mask(binding, layout)
        for name in sources:
            for key, value in sorted((zeros | dict(live.get(name, {}))).items()):
                if in_array and key not in zeros and not any(value if state else _masked(value, mask)):
                    continue
                if name != binding.table and key in live.get(binding.table, {}):
                    continue  # what is configured holds, whatever was learned before
                if name == binding.of_datapath and _is_outdated(binding, layout, value, found.config, env):
                    continue
                lone = in_tables if binding.state else ()  # a row of state makes no entry of a list in which it stands
                found.add(binding, layout, key, value, state=state and name == (binding.learned or name), in_tables=lone)
    return found.config


def _zero_rows(binding: Binding, layout: TableLayout, said: Mapping[str, Any], env: Env) -> Rows:
    """The rows of a configuration's entries that are all zeros."""
    try:
        rows = dict(map(packer(binding, layout, env), entries(said, binding.segments)))
    except (ValueError, KeyError):  # it names a port that is not there
        return {}
    return {key: value for key, value in rows.items() if not any(value)}


def _is_outdated(binding: Binding, layout: TableLayout, value: bytes, config: Mapping[str, Any], env: Env) -> bool:
    """The limit has been decoded before: in a model's order settings precede learned lists."""
    for column in binding.values:
        limit = leaf_at(config, column.until, None) if column.until else None
        offset, size = place(layout.value, column.place)
        if limit is not None and decode(column.encoding, value[offset : offset + size], env) > limit:
            return True
    return False


Lists = Collection[tuple[tuple[str, bool], ...]]


@dataclass(slots=True)
class _Decoded:
    """The configuration so far. `entries` has those of its lists by list and key, so that 10,000 rows are not searched 10,000
    times."""

    env: Env
    config: dict[str, Any] = field(default_factory=dict)
    entries: dict[tuple[Any, ...], Any] = field(default_factory=dict)

    def add(self, binding: Binding, layout: TableLayout, key: bytes, value: bytes, *, state: bool, in_tables: Lists) -> None:
        """Insert a row at its place. The entries of outer lists that are in `in_tables` exist already, or it has no place."""
        chain = self._entries_around(binding, layout, key, in_tables)
        if chain is None:
            return
        for column in binding.values:
            if column.state and not state:
                continue
            offset, size = place(layout.value, column.place)
            leaf = decode(column.encoding, value[offset : offset + size], self.env, column.enum)
            _set(chain[column.level], column.path, leaf)

    def _entries_around(self, binding: Binding, layout: TableLayout, key: bytes, in_tables: Lists) -> list[Any] | None:
        """The root, and the entry of each list around a row, created where it is missing; None: the row has no place."""
        node: Any = self.config
        chain: list[Any] = [node]
        where: tuple[Any, ...] = ()
        for depth, (name, is_list) in enumerate(binding.segments if binding.is_list else (), 1):
            where = (*where, name)
            if not is_list:
                node = node.setdefault(name, {})
                continue
            own = [c for c in binding.keys if c.level == len(chain)]
            is_outer = depth < len(binding.segments) and binding.segments[:depth] in in_tables
            entries = node.get(name, []) if is_outer else node.setdefault(name, [])
            wanted = _keys(own, layout, key, self.env)
            where = (*where, *wanted.items())
            if where not in self.entries:
                if is_outer:
                    return None
                self.entries[where] = wanted.get("", wanted)  # a leaf-list's entry is the key itself
                entries.append(self.entries[where])
            node = self.entries[where]
            chain.append(node)
        return chain


def _keys(own: Sequence[Column], layout: TableLayout, key: bytes, env: Env) -> dict[str, Any]:
    """The key leaves of a list's entry in a row's key."""
    wanted: dict[str, Any] = {}
    for column in own:
        offset, size = place(layout.key, column.place)
        value = decode(column.encoding, key[offset : offset + size], env, column.enum)
        wanted[column.path[0] if column.path else ""] = value
    return wanted


def _set(node: Any, path: Sequence[str], value: Any) -> None:
    for name in path[:-1]:
        node = node.setdefault(name, {})
    node[path[-1]] = value
