"""How much memory tables take, before there are any: from their shapes, and the rows that are to be in them.

The kernel's own sums (kernel/bpf/hashtab.c, arraymap.c, lpm_trie.c, ringbuf.c; what fdinfo has as `memlock`), good to some
percent. Since 5.11 no rlimit holds tables back: what does not fit is an ENOMEM in the middle of an apply, or the end of some
process.
"""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.graph.records import Record, TableRecord

HASH, ARRAY, PROG_ARRAY, PERCPU_HASH, PERCPU_ARRAY, LRU_HASH, LRU_PERCPU_HASH, LPM_TRIE, RINGBUF = 1, 2, 3, 5, 6, 9, 10, 11, 27
NO_PREALLOC = 1
_HASHES = {HASH, PERCPU_HASH, LRU_HASH, LRU_PERCPU_HASH}
_PER_CPU = {PERCPU_HASH, LRU_PERCPU_HASH, PERCPU_ARRAY}
_BUCKET, _ELEMENT, _TRIE_NODE, _POINTER, _PAGE = 16, 48, 24, 8, 4096

Spec = tuple[int, int, int, int, int]


def needed(desired: Mapping[str, Record], live: Mapping[str, Record], cpus: int) -> dict[str, int]:
    """Bytes by address, of tables that are to be created or to grow. A table that another replaces is there until the end."""
    found = {}
    for address, record in desired.items():
        if isinstance(record, TableRecord):
            before = live.get(address)
            old = before if isinstance(before, TableRecord) and before.spec == record.spec else None
            growth = _bytes(record, cpus) - (0 if old is None else _bytes(old, cpus))
            if growth > 0:
                found[address] = growth
    return found


def _bytes(record: TableRecord, cpus: int) -> int:
    return table_bytes(record.spec, len(record.rows or ()), cpus)


def table_bytes(spec: Spec, rows: int, cpus: int) -> int:
    """`spec` is that of a TableRecord; `rows` count where rows are allocated on demand. `cpus`: the number of possible CPUs."""
    kind, key, value, most, flags = spec
    values = cpus if kind in _PER_CPU else 1
    if kind in _HASHES:
        element = _ELEMENT + _round(key) + (_POINTER + _round(value) * values if kind in _PER_CPU else _round(value))
        if flags & NO_PREALLOC:  # each piece with a pointer of the allocator's own
            elements, element = rows, element + _POINTER * (2 if kind in _PER_CPU else 1)
        else:
            elements = most + (cpus if kind in (HASH, PERCPU_HASH) else 0)
        return _BUCKET * _power_of_two(most) + element * elements
    if kind == LPM_TRIE:
        return 2 * rows * (_TRIE_NODE + key + value)  # as many nodes again where prefixes part
    if kind == RINGBUF:
        return most + 3 * _PAGE
    if kind == PERCPU_ARRAY:
        return most * (_POINTER + _round(value) * values)
    return most * (_round(value) if kind == ARRAY else _POINTER)


def _round(size: int) -> int:
    return -(-size // 8) * 8


def _power_of_two(number: int) -> int:
    return 1 << max(0, number - 1).bit_length()
