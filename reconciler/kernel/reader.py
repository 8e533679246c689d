"""Everything that observing the live graph needs of the kernel, and no way to change it.

A plan is made with a Reader. It opens pins below one root, keeps nothing open, and turns what is missing into None:
an object that went away while we looked is simply not there.
"""

from __future__ import annotations

import errno
import json
import os
import struct
import zlib
from collections.abc import Sequence
from typing import Any

from reconciler.errors import kernel_error
from reconciler.kernel import bpf, hooks, maps, programs
from reconciler.kernel.bpffs import Bpffs

_SLOTS = maps.MapSpec(maps.PROG_ARRAY, 4, 4, 1)


class Reader:
    """Reads pins by their path relative to the root."""

    def __init__(self, root: Bpffs) -> None:
        self.root = root

    def names(self, relative: str) -> list[str]:
        return self.root.names(relative)

    def link_text(self, relative: str) -> str | None:
        return self.root.read_link(relative)

    def json_link(self, relative: str) -> dict[str, Any] | None:
        """The JSON object that a symlink holds; None if there is none, or what is there is not ours."""
        text = self.root.read_link(relative)
        try:
            found = json.loads(text) if text else None
        except ValueError:
            return None
        return found if isinstance(found, dict) else None

    def _open(self, relative: str) -> int | None:
        try:
            return bpf.open_pin(self.root.path(relative))
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINVAL, errno.EISDIR, errno.EACCES, errno.ELOOP) and os.geteuid() == 0:
                return None
            raise kernel_error(f"open {self.root.path(relative)}", error.errno or 0) from None

    def program(self, relative: str) -> programs.ProgramInfo | None:
        fd = self._open(relative)
        if fd is None:
            return None
        try:
            return programs.info(fd, with_maps=True)
        except OSError:
            return None
        finally:
            os.close(fd)

    def tables_of(self, relative: str) -> list[maps.MapInfo]:
        """The maps that a pinned program uses."""
        fd = self._open(relative)
        if fd is None:
            return []
        try:
            found = []
            for identity in programs.info(fd, with_maps=True).maps:
                table = bpf.fd_by_id(bpf.MAP_BY_ID, identity)
                try:
                    found.append(maps.info(table))
                finally:
                    os.close(table)
            return found
        except OSError:
            return []
        finally:
            os.close(fd)

    def table(self, relative: str) -> maps.MapInfo | None:
        """What is pinned, if it is a map."""
        fd = self._open(relative)
        if fd is None:
            return None
        try:
            return maps.info(fd)
        except OSError:
            return None
        finally:
            os.close(fd)

    def table_by_id(self, identity: int) -> maps.MapInfo | None:
        try:
            fd = bpf.fd_by_id(bpf.MAP_BY_ID, identity)
        except OSError:
            return None
        try:
            return maps.info(fd)
        finally:
            os.close(fd)

    def rows_by_id(self, identity: int) -> dict[bytes, bytes]:
        fd = bpf.fd_by_id(bpf.MAP_BY_ID, identity)
        try:
            return maps.rows(fd, maps.info(fd).spec)
        finally:
            os.close(fd)

    def hook(self, relative: str, ifindex: int, point: str) -> tuple[int, int] | None:
        """(program id, ifindex) of an attachment of ours; see `hooks.read`."""
        return hooks.read(self.root, relative, ifindex, point)

    def spec(self, relative: str) -> maps.MapSpec | None:
        fd = self._open(relative)
        if fd is None:
            return None
        try:
            return maps.info(fd).spec
        except OSError:
            return None
        finally:
            os.close(fd)

    def rows(self, relative: str) -> tuple[maps.MapSpec, dict[bytes, bytes]] | None:
        fd = self._open(relative)
        if fd is None:
            return None
        try:
            spec = maps.info(fd).spec
            return spec, maps.rows(fd, spec)
        finally:
            os.close(fd)

    def values(self, relative: str) -> bytes:
        """An array's values, one after the other; empty if there is no such array."""
        fd = self._open(relative)
        if fd is None:
            return b""
        try:
            return maps.array_values(fd, maps.info(fd).spec)
        finally:
            os.close(fd)

    def slots_at(self, relative: str, rows: Sequence[int]) -> dict[int, int]:
        """Rows of a PROG_ARRAY: program ids by row, 0 for an empty one."""
        fd = self._open(relative) if rows else None
        if fd is None:
            return dict.fromkeys(rows, 0)
        try:
            found = {row: maps.lookup(fd, _SLOTS, struct.pack("<I", row)) for row in rows}
            return {row: struct.unpack("<I", value)[0] if value else 0 for row, value in found.items()}
        finally:
            os.close(fd)

    def slot(self, relative: str, index: int) -> int:
        """One row of a PROG_ARRAY: the program's id, 0 if it is empty."""
        fd = self._open(relative)
        if fd is None:
            return 0
        try:
            value = maps.lookup(fd, maps.MapSpec(maps.PROG_ARRAY, 4, 4, 1), struct.pack("<I", index))
            return struct.unpack("<I", value)[0] if value else 0
        finally:
            os.close(fd)

    def constants(self, relative: str) -> bytes:
        """The frozen constants beside a program."""
        found = self.rows(relative)
        return next(iter(found[1].values()), b"") if found else b""

    def document(self, relative: str) -> str | None:
        """The text kept in a one-value map by `pack_document`."""
        raw = self.constants(relative)
        if not raw:
            return None
        (size,) = struct.unpack_from("<I", raw)
        try:
            return zlib.decompress(raw[4 : 4 + size]).decode()
        except (zlib.error, UnicodeDecodeError):
            return None


def pack_document(text: str) -> bytes:
    """A document as a map's value: length, then the compressed text."""
    packed = zlib.compress(text.encode(), 6)
    return struct.pack("<I", len(packed)) + packed


def fold_cpus(spec: maps.MapSpec, value: bytes) -> bytes:
    """One value of a per-CPU row: the sum of its CPUs, word by word (counters are u64)."""
    parts = maps.split_cpus(spec, value)
    if len(parts) == 1 or spec.value_size % 8:
        return parts[0]
    count = spec.value_size // 8
    sums = [sum(words) & (1 << 64) - 1 for words in zip(*(struct.unpack(f"<{count}Q", part) for part in parts), strict=True)]
    return struct.pack(f"<{count}Q", *sums)
