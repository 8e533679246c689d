"""Tells when something may have changed in the directories of the watched files.

Directories are watched, never files: an editor saves by renaming over the file, a release by swapping a symlink, and
Kubernetes swaps `..data`, and a watch on the old file would see none of that again. What did change is found out by reading
(`files`), which a poll does too every few seconds, for file systems that tell nobody (NFS, FUSE).
"""
from __future__ import annotations

import os
from typing import Any

_LONGEST_CHAIN = 40  # symlinks in a row, as in the kernel
_UNINTERESTING = frozenset({"opened", "closed_no_write"})  # that is us reading


class Watcher:
    """Readable (`fileno`) once something happened in one of the directories."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._watches: dict[tuple[str, int], Any] = {}  # by inode too: a directory that is made anew is another one
        self._observer: Any = None

    def fileno(self) -> int:
        return self._reading

    def discard(self) -> None:
        try:
            os.read(self._reading, 1 << 16)
        except BlockingIOError:
            return

    def follow(self, paths: list[str]) -> None:
        """Watch what decides over these files and directories from now on, and nothing else."""
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
            except OSError:  # gone again, or no inotify watches left: the poll is there
                continue

    def dispatch(self, event: Any) -> None:
        """Called by watchdog, in its thread: only wakes the loop."""
        if event.event_type not in _UNINTERESTING:
            try:
                os.write(self._writing, b"!")
            except BlockingIOError:  # it has enough to wake up for
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
    """The directories in which a change can make `path` mean something else: those of each symlink on the way, and the last."""
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
