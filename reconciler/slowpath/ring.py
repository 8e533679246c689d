"""The consumer's side of a BPF ring buffer, read without system calls.

    with Ring(root.open_pin("shared/log")) as ring:
        for raw in ring.records(64):
            ...

A ring is memory shared with the kernel: a page that the consumer writes its position to, a page where the kernel keeps
its own, and the data, mapped twice in a row so that a record that wraps around is still in one piece. Only waiting is
a system call. There is a single consumer position: a ring has one reader.
"""
from __future__ import annotations

import ctypes
import mmap
import os
import struct
from collections.abc import Iterator

from reconciler.kernel import maps

_BUSY, _DISCARDED = 1 << 31, 1 << 30  # bits of a record's length (BPF_RINGBUF_BUSY_BIT, _DISCARD_BIT)
_HEADER = 8  # bytes ahead of each record
_LENGTH, _POSITION = struct.Struct("<I"), struct.Struct("<Q")


class Ring:
    """The reader of one ring, whose descriptor it takes over. Raises ValueError if it is none.

    `identity` is the kernel's id of the map: a pin of the same name may become another ring.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        found = maps.info(self._fd)
        if found.spec.type != maps.RINGBUF:
            os.close(self._fd)
            raise ValueError(f"{found.name} is no ring buffer")
        self.identity, self._size, page = found.identity, found.spec.max_entries, mmap.PAGESIZE
        self._mine = mmap.mmap(self._fd, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._theirs = mmap.mmap(self._fd, page + 2 * self._size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        self._data = page  # where the records start in `_theirs`
        self._position = ctypes.c_ulong.from_buffer(self._mine)  # an aligned word: written atomically

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
        """Readable, to select and poll, when records arrived since the reader caught up."""
        return self._fd

    def waiting(self) -> int:
        """Bytes of the ring that are in use."""
        end: int = _POSITION.unpack_from(self._theirs)[0]
        return end - self._position.value

    def records(self, most: int = 1 << 30) -> Iterator[bytes]:
        """The present records, oldest first, at most `most`; never blocks.

        A record is released to the kernel before it is returned. So a reader that a record kills does not get it again, and all
        later records are left for the next reader.
        """
        place, theirs, data, size = self._position, self._theirs, self._data, self._size
        position, end = place.value, _POSITION.unpack_from(theirs)[0]
        while position < end and most > 0:
            at = data + position % size
            (length,) = _LENGTH.unpack_from(theirs, at)
            if length & _BUSY:  # reserved, and still being written
                return
            bytes_ = length & ~_DISCARDED
            found = None if length & _DISCARDED else theirs[at + _HEADER : at + _HEADER + bytes_]
            position += (bytes_ + _HEADER + 7) & ~7
            place.value = position
            if found is not None:
                most -= 1
                yield found
