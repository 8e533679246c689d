"""The consumer's side of a BPF ring buffer: what programs hand up, read without a system call.

    with Ring(f"{root}/shared/log") as ring:
        for raw in ring.raw():
            ...

A ring is memory shared with the kernel: a page that the consumer writes its position to, a page where the kernel keeps
its own, and the data, mapped twice in a row so that a record that wraps around is still in one piece. Only waiting makes
a system call. There is one position for all who read: a ring has one reader.
"""
from __future__ import annotations

import ctypes
import mmap
import os
import struct

from reconciler.kernel import bpffs, maps

_BUSY, _DISCARDED = 1 << 31, 1 << 30  # bits of a record's length (BPF_RINGBUF_BUSY_BIT, _DISCARD_BIT)
_HEADER = 8  # bytes ahead of each record
_LENGTH, _POSITION = struct.Struct("<I"), struct.Struct("<Q")


class Ring:
    """The reader of one pinned ring. Raises OSError where there is no such pin, ValueError if it is no ring.

    `identity` is the kernel's id of the map: a pin of the same name may become another ring.
    """

    def __init__(self, path: str) -> None:
        self._fd = bpffs.open_pin(path)
        found = maps.info(self._fd)
        if found.spec.type != maps.RINGBUF:
            os.close(self._fd)
            raise ValueError(f"{path} is no ring buffer")
        self.identity, self._size, page = found.identity, found.spec.max_entries, mmap.PAGESIZE
        self._mine = mmap.mmap(self._fd, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._theirs = mmap.mmap(self._fd, page + 2 * self._size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        self._data = page  # where the records start in `_theirs`
        self._position = ctypes.c_ulong.from_buffer(self._mine)  # an aligned word: written in one go

    def __enter__(self) -> Ring:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        del self._position  # else the mapping is still in use
        self._mine.close()
        self._theirs.close()
        os.close(self._fd)

    def fileno(self) -> int:
        """Readable, to select and poll, when records have come since the reader caught up."""
        return self._fd

    def waiting(self) -> int:
        """Bytes of the ring that are in use."""
        end: int = _POSITION.unpack_from(self._theirs)[0]
        return end - self._position.value

    def raw(self, most: int = 1 << 30) -> list[bytes]:
        """The records that are there now, oldest first, at most so many; not waited for. Their room is the kernel's again."""
        found: list[bytes] = []
        position, theirs, data, size = self._position.value, self._theirs, self._data, self._size
        end = _POSITION.unpack_from(theirs)[0]
        while position < end and len(found) < most:
            at = data + position % size
            (length,) = _LENGTH.unpack_from(theirs, at)
            if length & _BUSY:  # reserved, and still being written
                break
            bytes_ = length & ~_DISCARDED
            if not length & _DISCARDED:
                found.append(theirs[at + _HEADER : at + _HEADER + bytes_])
            position += (bytes_ + _HEADER + 7) & ~7
        self._position.value = position
        return found
