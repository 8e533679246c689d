"""The bpf filesystem, which holds the live graph: one directory for each root.

All of pcn's pins are below one root directory (default /sys/fs/bpf/pcn). Paths are relative to it and consist of escaped
names, so they cannot name, or remove, anything outside the root.

The root directory belongs to root: mode 0700, on a bpf filesystem, opened once and then accessed by its descriptor. Symlinks
below it are data, which is read and never followed: a directory is opened without following links before its entries are used.

Names: the kernel refuses a dot in a bpffs name; `reconciler.pins` percent-encodes it ('eth0.100' is 'eth0%2E100').
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import os
import select
import sys
from collections.abc import Iterator
from pathlib import Path

from reconciler import pins
from reconciler.errors import FeatureMissing, KernelError, NewerFormat, kernel_error
from reconciler.kernel import bpf, rootlock, trusted

DEFAULT_ROOT = "/sys/fs/bpf/pcn"
_BPF_FS_MAGIC = 0xCAFE4A11
_MODE = 0o700
_NOT_THERE = (FileNotFoundError, NotADirectoryError)


class Bpffs:
    """One root, opened at its first use. For reads an absent root directory is an empty live graph.

    Raises NotTrusted if another user owns, or can write to, the root or a directory below it."""

    def __init__(self, root: str = DEFAULT_ROOT) -> None:
        self.root = Path(root)
        self._kept: select.epoll | None = None  # closes the descriptor when collected; `__del__` would swallow a Ctrl-C

    # -- paths ------------------------------------------------------------------------------------------------------

    def path(self, relative: str) -> str:
        """A path below the root for messages. Raises ValueError for one outside of it."""
        if relative.startswith("/") or ".." in relative:
            raise ValueError(f"{relative!r} is not a path below {self.root}")
        return f"{self.root}/{relative}"

    def _at(self, relative: str) -> str:
        """A path for system calls, by the root's descriptor, so that later changes of the root's path have no effect. Raises
        FileNotFoundError if there is no root."""
        if relative.startswith("/") or ".." in relative:
            raise ValueError(f"{relative!r} is not a path below {self.root}")
        return f"/proc/self/fd/{self._home()}/{relative}"

    def _home(self) -> int:
        if self._kept is None:
            self._kept = select.epoll.fromfd(self._opened(make=False))
        return self._kept.fileno()

    def _opened(self, *, make: bool) -> int:
        """A descriptor of the root, after verifying owner and mode. Raises FileNotFoundError, NotTrusted, FeatureMissing."""
        try:
            fd = trusted.own_directory(self.root, make=make)
        except PermissionError as error:
            raise kernel_error(f"open {self.root}", error.errno or 0) from None
        if _type_of(fd) != _BPF_FS_MAGIC:
            os.close(fd)
            raise FeatureMissing(_elsewhere(self.root))
        return fd

    def _below(self, relative: str) -> int:
        """A descriptor of a directory below the root, opened without following symlinks."""
        return trusted.beneath(self._home(), relative)

    @contextlib.contextmanager
    def _parent(self, relative: str) -> Iterator[tuple[int, str]]:
        """A descriptor of the parent directory of a path, and the last name."""
        directory, _, name = relative.rpartition("/")
        fd = self._below(directory)
        try:
            yield fd, name
        finally:
            os.close(fd)

    # -- reading ----------------------------------------------------------------------------------------------------

    def exists(self, relative: str) -> bool:
        try:
            return os.path.lexists(self._at(relative))
        except FileNotFoundError:
            return False

    def names(self, relative: str = "") -> list[str]:
        """The names in a directory, sorted; empty if it does not exist."""
        return sorted(self.inodes(relative))

    def inodes(self, relative: str) -> dict[str, int]:
        """The inode numbers of a directory's entries, by name and sorted by it; empty if the directory does not exist. Names are
        interned, since cubes of a kind have entries of the same names."""
        try:
            fd = self._below(relative)
        except _NOT_THERE:
            return {}
        except PermissionError as error:
            raise kernel_error(f"read {self.path(relative)}", error.errno or 0) from None
        try:
            with os.scandir(fd) as entries:
                return dict(sorted([(sys.intern(entry.name), entry.inode()) for entry in entries]))
        finally:
            os.close(fd)

    def changed(self, relative: str) -> tuple[int, int] | None:
        """A directory's inode number, and the time in ns when an entry was last added or removed; None if it does not exist."""
        try:
            status = os.stat(self._at(relative))
        except _NOT_THERE:
            return None
        except PermissionError as error:
            raise kernel_error(f"read {self.path(relative)}", error.errno or 0) from None
        return status.st_ino, status.st_mtime_ns

    def format(self) -> int:
        """The version of the layout below the root. Raises NewerFormat if this code does not support it."""
        text = self.read_link(pins.FORMAT_PIN)
        if text is None:
            return 1
        if not text.isdecimal() or int(text) > pins.FORMAT:
            raise NewerFormat(
                f"{self.root} was made by a newer pcn: its format is {text[:20]}, and this one knows up to {pins.FORMAT} "
                "(nothing was read or changed; use that version, or one that is newer)"
            )
        return int(text)

    def read_link(self, relative: str) -> str | None:
        try:
            return os.readlink(self._at(relative))
        except OSError:
            return None

    def open_pin(self, relative: str) -> int:
        """A descriptor of the pinned object. Raises OSError: callers often expect ENOENT."""
        return bpf.open_pin(self._at(relative))

    def open(self, relative: str) -> int:
        """A descriptor of the pinned object. Raises KernelError, ENOENT included."""
        try:
            return self.open_pin(relative)
        except OSError as error:
            raise kernel_error(f"open {self.path(relative)}", error.errno or 0) from None

    @contextlib.contextmanager
    def opened(self, relative: str) -> Iterator[int]:
        fd = self.open(relative)
        try:
            yield fd
        finally:
            os.close(fd)

    # -- changing ---------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Create the root; mounts bpffs at /sys/fs/bpf if that is its parent and nothing is mounted yet."""
        parent = self.root.parent
        if not _is_bpffs(parent):
            _mount(parent)
        try:
            opened = self._opened(make=True)
        except OSError as error:
            raise kernel_error(f"make {self.root}", error.errno or 0) from None
        self._kept = select.epoll.fromfd(opened)

    def make_directory(self, relative: str) -> None:
        """Create a directory and its parents, unless they exist. An existing one is verified, so that paths through it are not
        redirected."""
        try:
            os.mkdir(self._at(relative), _MODE)
        except FileNotFoundError:
            above = relative.rpartition("/")[0]
            if not above:
                raise
            self.make_directory(above)
            os.mkdir(self._at(relative), _MODE)
        except FileExistsError:
            os.close(self._below(relative))

    def pin(self, fd: int, relative: str) -> None:
        try:
            bpf.pin(fd, self._at(relative))
        except KernelError as error:
            raise kernel_error(f"pin {self.path(relative)}", error.errno) from None

    def set_link(self, relative: str, text: str) -> None:
        """Create a symlink with the target `text`, or replace an existing one atomically."""
        path = self._at(relative)
        with contextlib.suppress(FileExistsError):
            os.symlink(text, path)
            return
        draft = f"{path}~"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft)
        os.symlink(text, draft)
        os.rename(draft, path)

    def rename(self, relative: str, new: str) -> None:
        with self._parent(relative) as (fd, name), self._parent(new) as (to, new_name):
            os.rename(name, new_name, src_dir_fd=fd, dst_dir_fd=to)

    def remove(self, relative: str) -> None:
        """Remove a pin, a symlink or a directory tree below the root; absence is no error."""
        with contextlib.suppress(*_NOT_THERE), self._parent(relative) as (fd, name):
            trusted.remove(fd, name)

    def remove_directory(self, relative: str) -> None:
        """Remove a directory if it exists and is empty."""
        with contextlib.suppress(OSError), self._parent(relative) as (fd, name):
            os.rmdir(name, dir_fd=fd)

    def remove_if_empty(self) -> None:
        """Remove empty directories of the root and of links/, and the root itself if nothing but its format is left."""
        if not self.exists(""):
            return
        for relative in (*(f"links/{name}" for name in self.names("links")), *self.names()):
            self.remove_directory(relative)
        if self.names() == [pins.FORMAT_PIN, "shared"] and self.names("shared") == [pins.KEEP_OUT.rpartition("/")[2]]:
            self.remove("shared")
            self.remove(pins.FORMAT_PIN)
        with contextlib.suppress(OSError):
            above = trusted.open_directory(self.root.parent, sticky=True)
            try:
                os.rmdir(self.root.name, dir_fd=above)
                self._kept = None
            finally:
                os.close(above)

    # -- locks ------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def locked(self, timeout: float) -> Iterator[None]:
        """Hold the writer lock of this root during the block. Raises LockBusy after `timeout` seconds, and NewerFormat."""
        with rootlock.locked(self, timeout):
            self.format()
            yield

    @contextlib.contextmanager
    def read_locked(self, timeout: float) -> Iterator[None]:
        """Hold a reader lock during the block, so that no apply is in progress. Readers do not exclude each other, and an absent
        root needs no lock. Raises LockBusy after `timeout` seconds, and NewerFormat; FeatureMissing where no root can exist."""
        there = self.exists("")
        if not there:
            self._refuse_slip()
        with rootlock.locked(self, timeout, shared=True) if there else contextlib.nullcontext():
            self.format()
            yield

    def _refuse_slip(self) -> None:
        """Raise FeatureMissing for an absent root that is not on a bpf filesystem: its path is probably a mistake."""
        above = next((path for path in (self.root, *self.root.parents) if path.is_dir()), self.root)
        if not self.root.is_relative_to("/sys/fs/bpf") and not _is_bpffs(above):
            raise FeatureMissing(_elsewhere(self.root))

    @contextlib.contextmanager
    def lockable(self) -> Iterator[int]:
        """Another descriptor of the root, for a lock, which is released when the block ends."""
        fd = os.open(self._at(""), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield fd
        finally:
            os.close(fd)

    def is_current(self, fd: int) -> bool:
        """Whether a descriptor is of the current root directory, which the previous lock holder may have removed."""
        try:
            return os.path.samestat(os.fstat(fd), os.lstat(self.root))
        except FileNotFoundError:
            return False

    @property
    def identity(self) -> str:
        """A hash that identifies this root in every network and mount namespace, even while it does not exist."""
        try:
            fd = trusted.open_directory(self.root.parent, sticky=True)
        except PermissionError as error:
            raise kernel_error(f"open {self.root.parent}", error.errno or 0) from None
        try:
            about = os.fstat(fd)
        finally:
            os.close(fd)
        return hashlib.blake2b(f"{about.st_dev}:{about.st_ino}:{self.root.name}".encode(), digest_size=8).hexdigest()


def open_pin(path: str) -> int:
    """A descriptor of the object pinned at an absolute path, all of whose directories must be trusted. Raises OSError."""
    directory, _, name = path.rpartition("/")
    fd = trusted.open_directory(directory, read=False)
    try:
        return bpf.open_pin(trusted.at(fd, name))
    finally:
        os.close(fd)


class _StatFs(ctypes.Structure):
    _fields_ = [("f_type", ctypes.c_long), ("rest", ctypes.c_char * 240)]


def _type_of(fd: int) -> int:
    """The magic number of a descriptor's file system; 0 on errors."""
    described = _StatFs()
    result = ctypes.CDLL(None, use_errno=True).fstatfs(fd, ctypes.byref(described))
    return int(described.f_type & 0xFFFFFFFF) if result == 0 else 0


def _is_bpffs(path: Path) -> bool:
    try:
        fd = trusted.open_directory(path, sticky=True)
    except OSError:
        return False
    try:
        return _type_of(fd) == _BPF_FS_MAGIC
    finally:
        os.close(fd)


def _elsewhere(path: Path) -> str:
    """The message for a root that is not on a bpf filesystem. Mounting one there would hide existing files."""
    return f"{path} is not on a bpf filesystem; say one that is, such as --bpffs {DEFAULT_ROOT}, or leave the option out"


def _mount(path: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if path != Path("/sys/fs/bpf"):
        raise FeatureMissing(_elsewhere(path))
    if libc.mount(b"bpf", os.fsencode(path), b"bpf", 0, b"mode=0700") != 0:  # the kernel's default is 1777
        number = ctypes.get_errno()
        if number in (errno.EPERM, errno.EACCES):
            raise kernel_error(f"mount the bpf filesystem at {path}", number)
        raise FeatureMissing(f"cannot mount the bpf filesystem at {path}: {os.strerror(number)}")


def missing(error: KernelError) -> bool:
    """Whether the error is ENOENT."""
    return error.errno == errno.ENOENT
