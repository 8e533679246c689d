"""BPF maps: created, read and written, in batches where the kernel supports them.

Values of per-CPU maps are in the kernel's format, one for each possible CPU (see `percpu`).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import re
import struct
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from reconciler.errors import kernel_error
from reconciler.incremental.memo import once
from reconciler.kernel import batch_read, bpf

HASH, ARRAY, PROG_ARRAY, PERF_ARRAY, PERCPU_HASH, PERCPU_ARRAY = range(1, 7)
LRU_HASH, LRU_PERCPU_HASH, LPM_TRIE, ARRAY_OF_MAPS, HASH_OF_MAPS, DEVMAP = range(9, 15)
QUEUE, STACK, DEVMAP_HASH, RINGBUF = 22, 23, 25, 27
PER_CPU = frozenset({PERCPU_HASH, PERCPU_ARRAY, LRU_PERCPU_HASH})
_WITHOUT_ROWS = frozenset({PERF_ARRAY, QUEUE, STACK, RINGBUF})  # their content can only be consumed
ARRAYS = frozenset({ARRAY, PERCPU_ARRAY, PROG_ARRAY, DEVMAP, ARRAY_OF_MAPS})
_BATCHED = frozenset({HASH, ARRAY, PERCPU_HASH, PERCPU_ARRAY, LRU_HASH, LRU_PERCPU_HASH, LPM_TRIE})
BPF_F_RDONLY_PROG = 1 << 7
_BPF_F_MMAPABLE = 1 << 10
_BPF_NOEXIST = 1
_NOT_IN_A_NAME = re.compile("[^A-Za-z0-9]")
_MAPPED_ROWS = 16  # an array of so many rows is mapped to be read: 256 rows take 9 us, and 93 us in a batch


@dataclass(frozen=True, slots=True)
class MapSpec:
    """A map's shape. Maps with equal specs are interchangeable."""

    type: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int = 0

    @property
    def stride(self) -> int:
        """Bytes from one CPU's value to the next in a per-CPU row, or from one row to the next in a mapped array."""
        return (self.value_size + 7) // 8 * 8

    @property
    def value_bytes(self) -> int:
        """Bytes of one value as user space reads it."""
        return self.stride * cpus() if self.type in PER_CPU else self.value_size


class MapInfo(NamedTuple):
    identity: int
    spec: MapSpec
    name: str


@once
def cpus() -> int:
    """Number of possible CPUs: how many values a per-CPU row has."""
    with open("/sys/devices/system/cpu/possible", encoding="ascii") as file:
        return int(file.read().strip().rpartition(",")[2].rpartition("-")[2]) + 1


def create(spec: MapSpec, name: str = "", btf: bytes = b"") -> int:
    """A new map. `btf` describes its key, as type 1, and its value, as type 2. Large arrays are mmapable, which `info` hides."""
    mapped = spec.type == ARRAY and not spec.flags and not btf and spec.max_entries >= _MAPPED_ROWS
    types = _load_btf(btf, name) if btf else -1
    attributes = struct.pack(
        "<7I16s5IQ",
        spec.type,
        spec.key_size,
        spec.value_size,
        spec.max_entries,
        spec.flags | (_BPF_F_MMAPABLE if mapped else 0),
        0,
        0,
        kernel_name(name),
        0,
        *((types, 1, 2) if btf else (0, 0, 0)),
        0,
        0,
    )
    try:
        return bpf.bpf(bpf.MAP_CREATE, attributes)
    except OSError as error:
        raise kernel_error(f"create a map for {name} ({spec.max_entries} entries)", error.errno or 0) from None
    finally:
        if types >= 0:
            os.close(types)


def _load_btf(raw: bytes, name: str) -> int:
    buffer = ctypes.create_string_buffer(raw, len(raw))
    try:
        return bpf.bpf(bpf.BTF_LOAD, struct.pack("<QQIIII", bpf.address(buffer), 0, len(raw), 0, 0, 0))
    except OSError as error:
        raise kernel_error(f"load the types of table {name}", error.errno or 0) from None


def kernel_name(name: str) -> bytes:
    """A name as the kernel stores it, at most 15 characters; for display, never an identity."""
    return _NOT_IN_A_NAME.sub("_", name[:15]).encode()


def info(fd: int) -> MapInfo:
    described = _Described()
    bpf.describe(fd, described)
    kind, identity, key, value, entries, flags, name = _INFO.unpack_from(described)
    said = sys.intern(name.rstrip(b"\0").decode("ascii", "replace"))
    return MapInfo(identity, _seen(kind, key, value, entries, flags), said)


_INFO = struct.Struct("<6I16s")
_Described = ctypes.c_char * _INFO.size


@once
def _seen(kind: int, key: int, value: int, entries: int, flags: int) -> MapSpec:
    """A map's shape by the kernel's description. Memoised: there may be a thousand maps, of few shapes."""
    if kind in (DEVMAP, DEVMAP_HASH):
        flags &= ~BPF_F_RDONLY_PROG  # the kernel adds it to every such map
    if kind == ARRAY:
        flags &= ~_BPF_F_MMAPABLE
    return MapSpec(kind, key, value, entries, flags)


def lookup(fd: int, spec: MapSpec, key: bytes) -> bytes | None:
    value = (ctypes.c_char * spec.value_bytes)()
    try:
        bpf.bpf(bpf.MAP_LOOKUP, bpf.SoughtRow(fd, key, ctypes.addressof(value)))
    except OSError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    return value.raw


def update(fd: int, key: bytes, value: bytes) -> None:
    bpf.bpf(bpf.MAP_UPDATE, bpf.Row(fd, key, value))


def insert(fd: int, key: bytes, value: bytes) -> bool:
    """Write a row unless the key exists; False if the map is full."""
    try:
        bpf.bpf(bpf.MAP_UPDATE, bpf.Row(fd, key, value, _BPF_NOEXIST))
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.E2BIG):
            raise
        return error.errno == errno.EEXIST
    return True


def delete(fd: int, key: bytes) -> bool:
    """Remove a row; False if there was none."""
    try:
        bpf.bpf(bpf.MAP_DELETE, bpf.Row(fd, key))
    except OSError as error:
        if error.errno == errno.ENOENT:
            return False
        raise
    return True


def freeze(fd: int) -> None:
    """Forbid writes from user space, irrevocably; with BPF_F_RDONLY_PROG the verifier then treats the value as a constant."""
    bpf.bpf(bpf.MAP_FREEZE, struct.pack("<I", fd))


def keys(fd: int, spec: MapSpec) -> Iterator[bytes]:
    key, following = None, ctypes.create_string_buffer(spec.key_size)
    while True:
        pointer = 0 if key is None else bpf.address(key)
        try:
            bpf.bpf(bpf.MAP_NEXT_KEY, struct.pack("<IIQQ", fd, 0, pointer, bpf.address(following)))
        except OSError as error:
            if error.errno == errno.ENOENT:
                return
            raise
        yield following.raw
        key = ctypes.create_string_buffer(following.raw, spec.key_size)


def rows(fd: int, spec: MapSpec) -> dict[bytes, bytes]:
    """All rows. Mapped or batched where the map type allows; a row that disappears meanwhile is omitted."""
    return rows_of(content(fd, spec), spec)


Content = bytes | batch_read.Block | dict[bytes, bytes]
"""All rows in the format that is read fastest: an array's memory, each value padded to 8 bytes, or a block, or rows by key."""


def content(fd: int, spec: MapSpec) -> Content:
    if spec.type in _WITHOUT_ROWS:
        return {}
    raw = _mapped(fd, spec)
    if raw is not None:
        return raw
    if spec.type == ARRAY and spec.max_entries == 1:
        value = lookup(fd, spec, bytes(4))
        return {} if value is None else {bytes(4): value}
    if spec.type in _BATCHED:
        with contextlib.suppress(batch_read.Unfit):
            return batch_read.read(fd, spec.key_size, spec.value_bytes, spec.max_entries)
    found = {}
    for key in keys(fd, spec):
        value = lookup(fd, spec, key)
        if value is not None:
            found[key] = value
    return found


def rows_of(raw: Content, spec: MapSpec, *, sparse: bool = False) -> dict[bytes, bytes]:
    """Rows by key, decoded from the result of `content`; `sparse`: without trailing rows of zeros of an array."""
    if isinstance(raw, batch_read.Block):
        return batch_read.rows_of(raw, spec.key_size, spec.value_bytes)
    if isinstance(raw, dict):
        return raw
    stride, width = spec.stride, spec.value_size
    end = len(raw.rstrip(b"\0")) if sparse else len(raw)
    return {key: raw[at : at + width] for key, at in zip(_array_keys(spec.max_entries), range(0, end, stride), strict=False)}


def keys_of(raw: Content, spec: MapSpec) -> bytes:
    """All keys, concatenated."""
    if isinstance(raw, batch_read.Block):
        return raw.keys
    return b"".join(raw if isinstance(raw, dict) else _array_keys(spec.max_entries)[: spec.max_entries])


def _mapped(fd: int, spec: MapSpec) -> bytes | None:
    """An array's memory, each value padded to 8 bytes; None if the map is not mmapable."""
    if spec.type != ARRAY or spec.max_entries < _MAPPED_ROWS:
        return None
    with contextlib.suppress(OSError), mmap.mmap(fd, spec.stride * spec.max_entries, prot=mmap.PROT_READ) as memory:
        return memory[:]
    return None


def _array_keys(count: int) -> tuple[bytes, ...]:
    """The keys of an array's first rows, at least `count` of them."""
    return _keys_below(1 << max(0, count - 1).bit_length())


@once
def _keys_below(count: int) -> tuple[bytes, ...]:
    return tuple(index.to_bytes(4, sys.byteorder) for index in range(count))


_WAIT, _MOST_WAITS = 0.005, 100  # seconds, and waits in a row without progress
_FEW = 8  # rows that are looked up one by one
_SHARE = 16  # a table is read completely if a sixteenth of its rows is requested
_NO_BATCHES = frozenset({errno.EINVAL, errno.EOPNOTSUPP, 524})  # 524: ENOTSUPP, the kernel's own


def lookup_many(fd: int, spec: MapSpec, wanted: Collection[bytes]) -> dict[bytes, bytes]:
    """The existing rows with these keys. For many keys the entire table is read, unless it is empty."""
    if len(wanted) > _FEW:
        if spec.type not in ARRAYS and next(keys(fd, spec), None) is None:
            return {}
        if len(wanted) >= spec.max_entries // _SHARE:
            there = rows(fd, spec)
            return {key: there[key] for key in wanted if key in there}
    return {key: value for key in wanted if (value := lookup(fd, spec, key)) is not None}


def update_many(fd: int, spec: MapSpec, wanted: Mapping[bytes, bytes]) -> None:
    """Write rows, in one call where possible. Raises OSError; rows before the failing one are then written.

    A table without preallocation takes its rows from a small per-CPU cache, which the kernel refills in the background. Thousands
    of rows at once may exhaust it (ENOMEM): then this retries, with at most _MOST_WAITS waits in a row without progress.
    """
    done, waits = 0, 0
    while len(wanted) > 1 and spec.type in _BATCHED:
        error, written = _batch(bpf.MAP_UPDATE_BATCH, fd, spec, list(wanted)[done:], list(wanted.values())[done:])
        if not error:
            return
        waits = 0 if written else waits + 1
        done += written
        if error in _NO_BATCHES and not done:
            break
        if error != errno.ENOMEM or waits > _MOST_WAITS:
            raise OSError(error, os.strerror(error))
        time.sleep(_WAIT)
    for key, value in wanted.items():
        update(fd, key, value)


def delete_many(fd: int, spec: MapSpec, doomed: Iterable[bytes]) -> int:
    """Remove rows, in one call where possible; returns the number that existed."""
    left, removed = list(doomed), 0
    while len(left) > 1 and spec.type in _BATCHED - ARRAYS:
        error, gone = _batch(bpf.MAP_DELETE_BATCH, fd, spec, left)
        if not error:
            return removed + len(left)
        removed += gone
        if error != errno.ENOENT:
            left = left[gone:]
            break
        left = left[gone + 1 :]  # the next key does not exist
    return removed + sum(delete(fd, key) for key in left)


def _batch(command: int, fd: int, spec: MapSpec, names: Sequence[bytes], values: Sequence[bytes] = ()) -> tuple[int, int]:
    """A batch command: (errno or 0, number of rows processed before the error)."""
    buffers = ctypes.create_string_buffer(b"".join(names)), ctypes.create_string_buffer(b"".join(values))
    at = bpf.address(buffers[0]), bpf.address(buffers[1]) if values else 0
    attributes = ctypes.create_string_buffer(struct.pack("<QQQQIIQQ", 0, 0, *at, len(names), fd, 0, 0), 56)
    try:
        bpf.bpf(command, attributes)
    except OSError as error:
        done: int = struct.unpack_from("<I", attributes.raw, 32)[0]
        return error.errno or errno.EIO, done if done < len(names) else 0  # older kernels leave the count as it was
    return 0, len(names)
