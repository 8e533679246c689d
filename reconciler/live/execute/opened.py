"""What is open below a root while operations are performed: descriptors of maps and programs, by path.

They are kept for the length of a transaction: staging a cube opens each of its tables many times otherwise.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from typing import Any

from reconciler.errors import KernelError
from reconciler.kernel import bpf, maps
from reconciler.kernel.bpffs import Bpffs
from reconciler.plan.operations import Operation

Performers = Mapping[type[Operation], Callable[[Any], None]]
"""What performs an operation, by its type. Each raises KernelError (or another PcnError)."""


class Opened:
    """Descriptors by path, and the directories that are there. `fds` is also read by the thread that loads ahead."""

    def __init__(self, root: Bpffs) -> None:
        self.root = root
        self.fds: dict[str, int] = {}
        self._specs: dict[str, maps.MapSpec] = {}
        self._directories: set[str] = set()

    def close(self) -> None:
        for fd in self.fds.values():
            os.close(fd)
        self.fds.clear()
        self._specs.clear()

    def fd(self, path: str) -> int:
        """The object at a path; 'program <id>' is one that has no pin of ours."""
        if path not in self.fds:
            if path.startswith("program "):
                self.fds[path] = bpf.fd_by_id(bpf.PROG_BY_ID, int(path.split()[1]))
            else:
                self.fds[path] = self.root.open(path)
        return self.fds[path]

    def map(self, path: str) -> tuple[int, maps.MapSpec]:
        fd = self.fd(path)
        if path not in self._specs:
            self._specs[path] = maps.info(fd).spec
        return fd, self._specs[path]

    def keep(self, fd: int, path: str) -> None:
        """Pin a new object and keep its descriptor."""
        self.ensure_directory(path.rpartition("/")[0])
        try:
            self.root.pin(fd, path)
        except KernelError:
            os.close(fd)
            raise
        self.fds[path] = fd

    def replace(self, fd: int, path: str) -> None:
        """As `keep`, in the place of what is pinned there: an interrupted apply's, or something that was recreated."""
        self.ensure_directory(path.rpartition("/")[0])
        try:
            self.root.pin(fd, path)
        except KernelError as error:
            if error.errno != errno.EEXIST:
                os.close(fd)
                raise
            self.remove(path)
            self.keep(fd, path)
        self.fds[path] = fd

    def ensure_directory(self, path: str) -> None:
        if path not in self._directories:
            self.root.make_directory(path)
            self._directories.add(path)

    def remove(self, path: str) -> None:
        self.forget(path)
        self.root.remove(path)

    def forget(self, path: str) -> None:
        """Drop the cached state of a path, and of everything below it."""
        if path in self.fds:  # a pin, then, and nothing is below it
            os.close(self.fds.pop(path))
            self._specs.pop(path, None)
            return
        below = f"{path}/"
        self._directories -= {known for known in self._directories if known == path or known.startswith(below)}
        for known in [known for known in self.fds if known == path or known.startswith(below)]:
            os.close(self.fds.pop(known))
            self._specs.pop(known, None)
