"""The bpf filesystem: where the live graph is kept, one directory for each root.

Everything pcn leaves in the kernel hangs off one root directory (default /sys/fs/bpf/pcn). Paths in here are relative
to it and made of names that were escaped, so nothing outside the root can be named, let alone removed.

Names: the kernel refuses a dot in a bpffs name; `reconciler.pins` percent-encodes it ('eth0.100' is 'eth0%2E100').
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from reconciler.errors import FeatureMissing, KernelError, LockBusy, kernel_error
from reconciler.kernel import bpf

DEFAULT_ROOT = "/sys/fs/bpf/pcn"
_BPF_FS_MAGIC = 0xCAFE4A11


class Bpffs:
    """One root. Reading needs no root directory to exist; an absent one is an empty live graph."""

    def __init__(self, root: str = DEFAULT_ROOT) -> None:
        self.root = Path(root)
        self._home = f"{self.root}/"

    def path(self, relative: str) -> str:
        """The absolute path of something below the root; refuses to climb out of it."""
        if relative.startswith("/") or ".." in relative:
            raise ValueError(f"{relative!r} is not a path below {self.root}")
        return self._home + relative

    def exists(self, relative: str) -> bool:
        return os.path.lexists(self.path(relative))

    def names(self, relative: str = "") -> list[str]:
        """What a directory holds, sorted; empty if there is no such directory."""
        try:
            return sorted(os.listdir(self.path(relative)))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except PermissionError as error:
            raise kernel_error(f"read {self.path(relative)}", error.errno or 0) from None

    def inodes(self, relative: str) -> dict[str, int]:
        """The inode of each thing in a directory, by name and in the order of names; empty if there is no such directory. Cubes
        of a kind have things of the same names, so there is one object for each name."""
        try:
            with os.scandir(self.path(relative)) as entries:
                return dict(sorted([(sys.intern(entry.name), entry.inode()) for entry in entries]))
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except PermissionError as error:
            raise kernel_error(f"read {self.path(relative)}", error.errno or 0) from None

    def changed(self, relative: str) -> tuple[int, int] | None:
        """A directory's own inode, and when something in it last came or went (nanoseconds); None if it is not there."""
        try:
            status = os.stat(self.path(relative))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except PermissionError as error:
            raise kernel_error(f"read {self.path(relative)}", error.errno or 0) from None
        return status.st_ino, status.st_mtime_ns

    def read_link(self, relative: str) -> str | None:
        try:
            return os.readlink(self.path(relative))
        except (FileNotFoundError, OSError):
            return None

    def is_directory(self, relative: str) -> bool:
        path = self.path(relative)
        return os.path.isdir(path) and not os.path.islink(path)

    def open(self, relative: str) -> int:
        """A descriptor of the pinned object. Raises KernelError, ENOENT included."""
        try:
            return bpf.open_pin(self.path(relative))
        except OSError as error:
            raise kernel_error(f"open {self.path(relative)}", error.errno or 0) from None

    @contextlib.contextmanager
    def opened(self, relative: str) -> Iterator[int]:
        fd = self.open(relative)
        try:
            yield fd
        finally:
            os.close(fd)

    def prepare(self) -> None:
        """Make the root, mounting bpffs at /sys/fs/bpf where the path lies there and nothing is mounted yet."""
        parent = self.root.parent
        if not _is_bpffs(parent):
            _mount(parent)
        try:
            self.root.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise kernel_error(f"make {self.root}", error.errno or 0) from None

    def make_directory(self, relative: str) -> None:
        """A directory, and those above it, if they are not there yet."""
        path = self.path(relative)
        try:
            os.mkdir(path, 0o700)
        except FileNotFoundError:
            os.makedirs(path, 0o700)
        except FileExistsError:
            if not os.path.isdir(path):
                raise

    def pin(self, fd: int, relative: str) -> None:
        bpf.pin(fd, self.path(relative))

    def set_link(self, relative: str, text: str) -> None:
        """Make a symlink that holds `text`, or put it in the place of an old one, atomically."""
        path = self.path(relative)
        with contextlib.suppress(FileExistsError):
            os.symlink(text, path)
            return
        draft = f"{path}~"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft)
        os.symlink(text, draft)
        os.rename(draft, path)

    def rename(self, relative: str, new: str) -> None:
        os.rename(self.path(relative), self.path(new))

    def remove(self, relative: str) -> None:
        """Remove a pin, a symlink or a whole directory below the root; absence is no error."""
        path = self.path(relative)
        if os.path.islink(path) or not os.path.isdir(path):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        else:
            import shutil  # is slow to import

            shutil.rmtree(path)

    def remove_if_empty(self) -> None:
        """Take away the directories below links that hold nothing, and the root itself once nothing is left in it."""
        netdevs = (self.root / "links" / name for name in self.names("links"))
        for directory in (*netdevs, *(self.root / name for name in self.names()), self.root):
            with contextlib.suppress(OSError):
                directory.rmdir()

    @contextlib.contextmanager
    def locked(self, timeout: float) -> Iterator[None]:
        """The one writer of this root, for as long as the block runs. The kernel drops the lock when its holder dies.

        Raises LockBusy after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        fd = self._lock_once(deadline, timeout)
        while not self._is_current(fd):  # the last holder removed the root when it left: lock the new one
            os.close(fd)
            fd = self._lock_once(deadline, timeout)
        try:
            yield
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def read_locked(self, timeout: float) -> Iterator[None]:
        """No writer is at work while the block runs, so what is read is no half-done apply. Readers do not exclude each
        other, and an absent root needs no lock. Raises LockBusy after `timeout` seconds."""
        if not self.root.is_dir():
            yield
            return
        fd = self._lock_once(time.monotonic() + timeout, timeout, fcntl.LOCK_SH)
        try:
            yield
        finally:
            os.close(fd)

    def _lock_once(self, deadline: float, timeout: float, kind: int = fcntl.LOCK_EX) -> int:
        self.prepare()
        fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        while True:
            try:
                fcntl.flock(fd, kind | fcntl.LOCK_NB)
                return fd
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    holder = _holder(fd)
                    os.close(fd)
                    raise LockBusy(f"{self.root} is being changed by {holder}; gave up after {timeout:g} s") from None
                time.sleep(0.02)

    def _is_current(self, fd: int) -> bool:
        try:
            return os.fstat(fd).st_ino == os.stat(self.root).st_ino
        except FileNotFoundError:
            return False


def _holder(fd: int) -> str:
    """The process that holds the flock, from /proc/locks; a help to the reader, so any failure is 'another process'."""
    inode = str(os.fstat(fd).st_ino)
    try:
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()
            if "FLOCK" in fields and fields[5].endswith(f":{inode}"):
                command = Path(f"/proc/{fields[4]}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
                return f"process {fields[4]} ({command[:80]})"
    except (OSError, IndexError):
        pass
    return "another process"


class _StatFs(ctypes.Structure):
    _fields_ = [("f_type", ctypes.c_long), ("rest", ctypes.c_char * 240)]


def _is_bpffs(path: Path) -> bool:
    described = _StatFs()
    result = ctypes.CDLL(None, use_errno=True).statfs(os.fsencode(path), ctypes.byref(described))
    return bool(result == 0 and described.f_type & 0xFFFFFFFF == _BPF_FS_MAGIC)


def _mount(path: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if path != Path("/sys/fs/bpf"):
        raise FeatureMissing(
            f"{path} is not on a bpf filesystem; mount one there (mount -t bpf bpf {path}) or use another --bpffs"
        )
    if libc.mount(b"bpf", os.fsencode(path), b"bpf", 0, None) != 0:
        number = ctypes.get_errno()
        if number in (errno.EPERM, errno.EACCES):
            raise kernel_error(f"mount the bpf filesystem at {path}", number)
        raise FeatureMissing(f"cannot mount the bpf filesystem at {path}: {os.strerror(number)}")


def missing(error: KernelError) -> bool:
    """Whether an error says that the thing is simply not there."""
    return error.errno == errno.ENOENT
