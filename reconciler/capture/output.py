"""Outputs of a capture: a pipe, or a file that is rotated by size or age.

Each file is complete, with its own headers. The current one has the requested name; older ones are NAME.1, NAME.2 and so on,
newest first. Files are created exclusively, with mode 0600, and replace earlier captures only: root may write where others can,
as in /var/tmp.
"""

from __future__ import annotations

import os
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from reconciler.errors import UsageError


@dataclass(frozen=True, slots=True)
class Rotation:
    """Rotate after `size` bytes or `seconds`; 0: never. At most `keep` older files."""

    size: int = 0
    seconds: float = 0
    keep: int = 9


class Output(Protocol):
    def write(self, data: bytes) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...


class Pipe:
    """Raises BrokenPipeError once the reader has exited."""

    def __init__(self, fd: int, head: bytes) -> None:
        self._fd, self._waiting = fd, bytearray(head)

    def write(self, data: bytes) -> None:
        self._waiting += data
        if len(self._waiting) > 1 << 16:
            self.flush()

    def flush(self) -> None:
        while self._waiting:
            del self._waiting[: os.write(self._fd, self._waiting)]

    def close(self) -> None:
        self.flush()


class File:
    """Raises OSError, and UsageError if the path is another user's file, or no regular one."""

    def __init__(self, path: str, head: bytes, rotation: Rotation) -> None:
        self._path, self._head, self._rotation = os.path.abspath(path), head, rotation
        self._begin()

    def write(self, data: bytes) -> None:
        if self._is_full(len(data)):
            self._pipe.close()
            os.close(self._fd)
            self._begin()
        self._pipe.write(data)
        self._size += len(data)

    def flush(self) -> None:
        self._pipe.flush()

    def close(self) -> None:
        self._pipe.close()
        os.close(self._fd)

    def _is_full(self, more: int) -> bool:
        size, seconds = self._rotation.size, self._rotation.seconds
        full = size and self._size + more > size and self._size > len(self._head)
        return bool(full or (seconds and time.monotonic() - self._began >= seconds))

    def _begin(self) -> None:
        for number in range(self._rotation.keep, 0, -1):
            older = self._path if number == 1 else f"{self._path}.{number - 1}"
            with suppress(FileNotFoundError):
                _refuse_others(older)
                os.rename(older, f"{self._path}.{number}")
        with suppress(FileNotFoundError):
            _refuse_others(self._path)
            os.unlink(self._path)
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self._pipe, self._size, self._began = Pipe(self._fd, self._head), len(self._head), time.monotonic()


def _refuse_others(path: str) -> None:
    about = os.lstat(path)
    if not stat.S_ISREG(about.st_mode) or about.st_uid != os.geteuid():
        raise UsageError(f"{path} is there already and is no file of ours")
