"""The lock of a bpffs root: one writer, or several readers.

Two locks, acquired in this order. The one in /run/pcn is inaccessible to ordinary users. The one on the root directory is used by
every version of pcn, so it excludes older ones; but an ordinary user's process that opened the directory before it was private to
root may hold it for ever. So its holder is waited for only if it is a process of root's.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.errors import KernelError, LockBusy
from reconciler.kernel import rundir

if TYPE_CHECKING:
    from reconciler.kernel.bpffs import Bpffs

_PAUSE = 0.02  # seconds between two tries
_SURE = 3  # tries in a row that find only untrusted holders: a trusted one may just have ended


@contextmanager
def locked(root: Bpffs, timeout: float, *, shared: bool = False) -> Iterator[None]:
    """Hold a root's lock during the block, as its writer or (`shared`) one of its readers. The kernel releases the locks of a
    process that dies. Creates the root if it does not exist. Raises LockBusy after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    with ExitStack() as stack:
        root.prepare()
        try:
            seat = rundir.take(f"root-{root.identity}", str(os.getpid()), shared=shared, timeout=timeout)
            stack.callback(seat.release)
        except rundir.Taken as taken:
            raise _busy(root, _process(str(taken)), timeout) from None
        except KernelError:  # a user without a directory below /run, whose root is inaccessible to others
            if os.geteuid() == 0:
                raise
        while True:
            root.prepare()  # the last holder may have removed it on release
            fd = stack.enter_context(root.lockable())
            _lock(root, fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, deadline, timeout)
            if root.is_current(fd):
                break
        yield


def _lock(root: Bpffs, fd: int, kind: int, deadline: float, timeout: float) -> None:
    ignored = 0
    while True:
        try:
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            holders = _holders(fd)  # none: it is in a PID namespace that we do not see
            believed = [process for process in holders if _is_believed(process, fd)]
            ignored = ignored + 1 if holders and not believed else 0
            if ignored == _SURE:
                return  # held by an ordinary user, so by no older pcn
            if time.monotonic() >= deadline and not ignored:
                raise _busy(root, _process(*believed), timeout) from None
            time.sleep(_PAUSE)


def _busy(root: Bpffs, holder: str, timeout: float) -> LockBusy:
    return LockBusy(f"{root.root} is being changed by {holder}; gave up after {timeout:g} s")


def _holders(fd: int) -> list[str]:
    """Ids of processes that took a lock on this directory, from /proc/locks."""
    inode = f":{os.fstat(fd).st_ino}"
    lines = (line.split() for line in Path("/proc/locks").read_text().splitlines())
    return [fields[4] for fields in lines if fields[1] == "FLOCK" and fields[5].endswith(inode)]


def _is_believed(process: str, fd: int) -> bool:
    """Whether a process is root's (or our own user's) and has the lock itself: if the process that took it ended and its child
    holds it now, the id may have been reused."""
    inode = f":{os.fstat(fd).st_ino} "
    try:
        if os.stat(f"/proc/{process}").st_uid not in (0, os.geteuid()):
            return False
        notes = (entry.read_text() for entry in Path(f"/proc/{process}/fdinfo").iterdir())
        return any("lock:" in note and "FLOCK" in note and inode in note for note in notes)
    except PermissionError:  # it is root's or ours, and has capabilities that we lack
        return True
    except OSError:
        return False


def _process(number: str = "", *_: str) -> str:
    """A process, for messages."""
    try:
        command = Path(f"/proc/{number}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
    except OSError:
        return "another process"
    return f"process {number} ({command[:80]})"
