"""/run/pcn, the rendezvous of pcn's processes: owned by root, mode 0700, inaccessible to ordinary users.

    seat = take("sys-fs-bpf-pcn.lock", "4711")     a lock file with content; the kernel releases the lock when the process ends
    holder("sys-fs-bpf-pcn.lock")                  its holder's content, without blocking; None if it is not held
    listen("x.sock"), connect("x.sock", 5.0)       a Unix socket; `is_believed` verifies the peer's user

Another user who has pcn's capabilities has a directory of their own, below /run/user.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from reconciler.errors import kernel_error
from reconciler.kernel import trusted

RUN = Path("/run/pcn")
_PAUSE = 0.02  # seconds between two tries to take a seat
_MOST = 1 << 16  # bytes of a seat's content
_GLIMPSE = 0.2  # seconds: a check whether a seat is held takes it for a moment


class Taken(Exception):
    """The seat is held; the text is its holder's content."""


def directory() -> Path:
    user = os.geteuid()
    with suppress(OSError):
        if user == 0 or os.lstat(RUN).st_uid == user:
            return RUN
    return Path(f"/run/user/{user}/pcn")


@contextmanager
def opened(*, make: bool = True, below: str = "") -> Iterator[int]:
    """A descriptor of the directory, or of one `below` it, which is created if absent (without `make`: FileNotFoundError). Raises
    NotTrusted, KernelError."""
    path = directory() / below
    try:
        if below and make:
            os.close(trusted.own_directory(directory()))
        fd = trusted.own_directory(path, make=make)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not make:
            raise
        raise kernel_error(f"open {path}", error.errno or 0) from None
    try:
        yield fd
    finally:
        os.close(fd)


class Seat:
    """A lock file that this process holds. `release` removes the file, unless the lock is shared."""

    def __init__(self, name: str, fd: int, shared: bool) -> None:
        self._name, self._fd, self._shared = name, fd, shared

    def write(self, words: str) -> None:
        """Write the content, in one system call: readers see the old content or the new."""
        os.pwrite(self._fd, words.encode().ljust(64), 0)

    def release(self) -> None:
        if not self._shared:
            with opened() as fd, suppress(FileNotFoundError):
                os.unlink(self._name, dir_fd=fd)
        os.close(self._fd)


def take(name: str, words: str = "", *, shared: bool = False, timeout: float = _GLIMPSE) -> Seat:
    """Acquire a seat, or raise Taken after `timeout` seconds. `words`: its content."""
    deadline = time.monotonic() + timeout
    with opened() as directory_fd:
        while True:
            fd = trusted.open_file(directory_fd, name, os.O_RDWR | os.O_CREAT)
            try:
                fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            except BlockingIOError:
                said = _read(fd)
                os.close(fd)
                if time.monotonic() >= deadline:
                    raise Taken(said) from None
                time.sleep(_PAUSE)
                continue
            with suppress(FileNotFoundError):
                if os.path.samestat(os.stat(name, dir_fd=directory_fd, follow_symlinks=False), os.fstat(fd)):
                    break
            os.close(fd)  # the last holder removed the file on release
    seat = Seat(name, fd, shared)
    if words:
        seat.write(words)
    return seat


def holder(name: str) -> str | None:
    """The content of a held seat; None if it is free. Does not block."""
    try:
        with opened(make=False) as directory_fd:
            fd = trusted.open_file(directory_fd, name)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(fd)
    finally:
        os.close(fd)
    return None


def holders(prefix: str) -> list[str]:
    """The contents of all held seats with a prefix, in the order of names. Removes seats of killed holders. Does not block."""
    found = []
    try:
        with opened(make=False) as directory_fd:
            for name in sorted(each for each in os.listdir(directory_fd) if each.startswith(prefix)):
                with suppress(FileNotFoundError):
                    found += _said(directory_fd, name)
    except FileNotFoundError:
        return []
    return found


def _said(directory_fd: int, name: str) -> list[str]:
    fd = trusted.open_file(directory_fd, name)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(name, dir_fd=directory_fd)
    except BlockingIOError:
        return [_read(fd)]
    finally:
        os.close(fd)
    return []


def _read(fd: int) -> str:
    return os.pread(fd, _MOST, 0).decode(errors="replace").strip()


# -- sockets -------------------------------------------------------------------------------------------------------------------


def listen(name: str) -> socket.socket:
    """A listening socket of this name. Replaces an existing one, since the caller holds the seat."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        with opened() as fd:
            trusted.remove(fd, name)
            sock.bind(trusted.at(fd, name))
        sock.listen(8)
    except BaseException:
        sock.close()
        raise
    return sock


def unlink(name: str) -> None:
    with opened() as fd:
        trusted.remove(fd, name)


def connect(name: str, timeout: float) -> socket.socket:
    """A connection to the listener of that name. Raises OSError if there is none, or it is not trusted."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.settimeout(timeout)
        with opened(make=False) as fd:
            sock.connect(trusted.at(fd, name))
        if not is_believed(sock):
            raise PermissionError(1, f"{directory()}/{name} is not root's")
    except BaseException:
        sock.close()
        raise
    return sock


def peer(sock: socket.socket) -> tuple[int, int]:
    """(process id, user id) of the peer of a Unix socket, from when it connected or listened."""
    process, user, _ = struct.unpack("iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return process, user


def is_believed(sock: socket.socket) -> bool:
    """Whether the peer is trusted: root's, or our own user's."""
    return peer(sock)[1] in (0, os.geteuid())
