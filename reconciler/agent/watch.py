"""Signals that something may have changed in the directories of the watched files.

Directories are watched, not files: an editor saves by renaming over the file, a release by swapping a symlink, Kubernetes by
swapping `..data`; a watch on the old file would miss all of that. The change is found by reading (`files`), also by a periodic
poll, for file systems without notification (NFS, FUSE).
"""
from __future__ import annotations

import os
from typing import Any

_LONGEST_CHAIN = 40  # symlinks in a row, as in the kernel
_UNINTERESTING = frozenset({"opened", "closed_no_write"})  # our own reads


class Watcher:
    """Readable (`fileno`) once there was an event in one of the directories."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._watches: dict[tuple[str, int], Any] = {}  # by inode too: a recreated directory is another one
        self._observer: Any = None

    def fileno(self) -> int:
        return self._reading

    def discard(self) -> None:
        try:
            os.read(self._reading, 1 << 16)
        except BlockingIOError:
            return

    def follow(self, paths: list[str]) -> None:
        """Watch exactly the directories that determine these paths."""
        from watchdog.observers import Observer

        wanted = {(directory, _inode(directory)) for path in paths for directory in deciding(path) if os.path.isdir(directory)}
        if self._observer is None:
            self._observer = Observer()
            self._observer.start()
        for known in self._watches.keys() - wanted:
            self._observer.unschedule(self._watches.pop(known))
        for directory, inode in wanted - self._watches.keys():
            try:
                self._watches[directory, inode] = self._observer.schedule(self, directory)
            except OSError:  # deleted again, or out of inotify watches: the poll remains
                continue

    def dispatch(self, event: Any) -> None:
        """Called by watchdog on its thread: only wakes the loop."""
        if event.event_type not in _UNINTERESTING:
            try:
                os.write(self._writing, b"!")
            except BlockingIOError:  # the wake-up is pending already
                return

    def close(self) -> None:
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
        os.close(self._reading)
        os.close(self._writing)


def _inode(directory: str) -> int:
    try:
        return os.stat(directory).st_ino
    except OSError:
        return 0


def deciding(path: str) -> set[str]:
    """The directories in which a change can redirect `path`: those of each symlink on it, and the last."""
    found: set[str] = set()
    rest = [part for part in os.path.abspath(path).split("/") if part]
    here, links = "/", 0
    while rest:
        step = os.path.join(here, rest.pop(0))
        if os.path.islink(step) and links < _LONGEST_CHAIN:
            links += 1
            found.add(here)
            target = os.path.normpath(os.path.join(here, os.readlink(step)))
            rest = [part for part in target.split("/") if part] + rest
            here = "/"
        elif rest or os.path.isdir(step):
            here = step
    return found | {here}
