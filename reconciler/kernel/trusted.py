"""Directories and files that root can trust: opened by descriptor, with no component of the path under another user's control.

    own_directory(path)       a private directory of root's: mode 0700, which is set if it differs
    open_directory(path)      walks a path from /; each directory on it must be root's (or ours), and not writable by others
                              unless it is sticky, like /tmp. A symlink is followed only where others cannot create one
    beneath(fd, relative)     a directory below an open one, by openat2(2): no symlink is followed, no mount crossed
    open_file(fd, name)       a regular file in an open directory; a FIFO, a device or a symlink is refused without blocking

An ordinary user cannot replace the results afterwards, so a path below such a descriptor (`at`) can be used by name.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterator

from reconciler.errors import NotTrusted

_OPENAT2 = 437  # the same on every architecture
_NO_XDEV, _NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH = 1, 2, 4, 8
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_PATH = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC  # permitted to a process that Landlock forbids to read there
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_OWN = 0o700
_MOST_LINKS = 40  # the kernel's limit

_libc = ctypes.CDLL(None, use_errno=True)


class _How(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def is_ours(about: os.stat_result, also: int = 0) -> bool:
    """Whether the owner is root, the user of this process, or the user with the id `also`."""
    return about.st_uid in (0, os.geteuid(), also)


def why_not(about: os.stat_result, also: int = 0) -> str:
    """Why a directory or a file is not trusted; '' if it is."""
    if not is_ours(about, also):
        return f"belongs to user {about.st_uid}"
    return "can be written by others" if about.st_mode & _OTHERS_WRITE and not stat.S_ISLNK(about.st_mode) else ""


def open_directory(
    path: str | os.PathLike[str], *, make: int | None = None, sticky: bool = False, also: int = 0, read: bool = True
) -> int:
    """A descriptor of a directory. `make`: create it and its parents with this mode, if absent. `sticky`: others may write to it,
    if its sticky bit is set. Not `read`: O_PATH, only as the start of a path. Raises NotTrusted, and OSError as open(2) does."""
    names = _names(os.path.abspath(path))
    links = 0
    here, fd = "/", os.open("/", _PATH)
    try:
        _refuse(here, os.fstat(fd), sticky=True, also=also)
        while names:
            name = names.pop()
            shared = bool(os.fstat(fd).st_mode & _OTHERS_WRITE)
            below = _step(fd, name, make)
            about = os.fstat(below)
            if stat.S_ISLNK(about.st_mode):
                links += 1
                target = os.readlink("", dir_fd=below)
                os.close(below)
                if shared or not is_ours(about, also) or links > _MOST_LINKS:
                    link = os.path.join(here, name)
                    raise NotTrusted(f"{link} is a symlink that others can have made: name the directory itself")
                names += _names(os.path.normpath(os.path.join(here, target)))
                os.close(fd)
                here, fd = "/", os.open("/", _PATH)
                continue
            os.close(fd)
            here, fd = os.path.join(here, name), below
            _refuse(here, about, sticky=bool(names) or sticky, also=also)
        opened = os.open(".", _DIRECTORY if read else _PATH, dir_fd=fd)
    finally:
        os.close(fd)
    return opened


def refuse_shared(path: str | os.PathLike[str]) -> None:
    """Raises NotTrusted for a file in a directory where others can replace it, even by a link to a file of root's."""
    os.close(open_directory(os.path.dirname(os.path.abspath(path)), read=False))


def own_directory(path: str | os.PathLike[str], *, make: bool = True) -> int:
    """A descriptor of a private directory of root's (or our own user's). One of another user is refused. Its mode is set to 0700;
    if others could write there before, its whole content must be ours. Raises as `open_directory`."""
    above, _, name = os.path.abspath(path).rpartition("/")
    parent = open_directory(above or "/", sticky=True)
    try:
        if make:
            try:
                os.mkdir(name, _OWN, dir_fd=parent)
            except FileExistsError:
                pass
        fd = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    except NotADirectoryError:
        raise NotTrusted(f"{path} is no directory, or a symlink, which is not followed: remove it") from None
    finally:
        os.close(parent)
    try:
        _make_own(fd, path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _make_own(fd: int, path: str | os.PathLike[str]) -> None:
    about = os.fstat(fd)
    if not is_ours(about):
        raise NotTrusted(f"{path} belongs to user {about.st_uid}, so nothing there is read or changed: it must be root's")
    if about.st_mode & 0o777 == _OWN or about.st_uid != os.geteuid():
        return
    os.fchmod(fd, _OWN)
    if about.st_mode & _OTHERS_WRITE and (found := next(_strangers(fd, str(path)), "")):
        os.fchmod(fd, stat.S_IMODE(about.st_mode))  # so that the next caller checks again
        raise NotTrusted(f"others could write to {path}, and {found}: remove that, then try again")


def _names(path: str) -> list[str]:
    """The names of an absolute path, in reverse order."""
    return [name for name in reversed(path.split("/")) if name]


def _step(fd: int, name: str, make: int | None) -> int:
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(name, flags, dir_fd=fd)
    except FileNotFoundError:
        if make is None:
            raise
    try:
        os.mkdir(name, make, dir_fd=fd)
    except FileExistsError:  # created by another process; the owner is checked by the caller
        pass
    return os.open(name, flags, dir_fd=fd)


def _refuse(path: str, about: os.stat_result, *, sticky: bool, also: int) -> None:
    if not stat.S_ISDIR(about.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
    why = why_not(about, also)
    if why and not (sticky and is_ours(about, also) and about.st_mode & stat.S_ISVTX):
        raise NotTrusted(f"{path} {why}, so it is not used: what is done as root must be root's")


def beneath(fd: int, relative: str) -> int:
    """A directory below an open one, on the same file system. Raises NotTrusted, and OSError as openat2(2) does."""
    try:
        found = _openat2(fd, relative or ".")
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EXDEV):
            raise
        what = "a symlink" if error.errno == errno.ELOOP else "another file system"
        raise NotTrusted(f"{name_of(fd)}/{relative} leads to {what}, which is not followed: remove it") from None
    if why := why_not(os.fstat(found)):
        os.close(found)
        raise NotTrusted(f"{name_of(fd)}/{relative} {why}, so it is not used: remove it")
    return found


def _openat2(fd: int, relative: str) -> int:
    how = _How(_DIRECTORY, 0, _NO_XDEV | _NO_MAGICLINKS | _NO_SYMLINKS | _BENEATH)
    found = int(_libc.syscall(_OPENAT2, fd, os.fsencode(relative), ctypes.byref(how), ctypes.sizeof(how)))
    if found >= 0:
        return found
    number = ctypes.get_errno()
    if number == errno.ENOSYS:  # a seccomp filter, such as that of systemd's RestrictSUIDSGID=
        return _name_by_name(fd, relative)
    raise OSError(number, os.strerror(number), relative)


def _name_by_name(fd: int, relative: str) -> int:
    """As `_openat2`, one name at a time."""
    device, found = os.fstat(fd).st_dev, os.open(".", _DIRECTORY, dir_fd=fd)
    for name in relative.split("/"):
        above = found
        try:
            about = os.stat(name, dir_fd=above, follow_symlinks=False)
            if stat.S_ISLNK(about.st_mode) or name == ".." or about.st_dev != device:
                number = errno.ELOOP if stat.S_ISLNK(about.st_mode) else errno.EXDEV
                raise OSError(number, os.strerror(number), relative)
            found = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=above)
        finally:
            os.close(above)
    return found


def at(fd: int, relative: str) -> str:
    """A path for system calls that take no directory descriptor, bpf(2) and bind(2) among them."""
    return f"/proc/self/fd/{fd}/{relative}"


def name_of(fd: int) -> str:
    """The path of an open directory, for messages."""
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return "?"


def open_file(fd: int, name: str, flags: int = os.O_RDONLY, mode: int = 0o600) -> int:
    """A descriptor of a regular file in an open directory. Raises NotTrusted, and OSError as open(2) does."""
    try:
        found = os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode, dir_fd=fd)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a symlink; a FIFO without a reader, or a socket
            raise NotTrusted(f"{name_of(fd)}/{name} is no regular file, so it is not used") from None
        raise
    about = os.fstat(found)
    why = why_not(about) if stat.S_ISREG(about.st_mode) else "is no regular file"
    if why:
        os.close(found)
        raise NotTrusted(f"{name_of(fd)}/{name} {why}, so it is not used")
    return found


def remove(fd: int, name: str) -> None:
    """Remove a file or a directory tree in an open directory; absence is no error. Symlinks are not followed."""
    try:
        os.unlink(name, dir_fd=fd)
        return
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        if not stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
            raise
    below = beneath(fd, name)
    try:
        for each in os.listdir(below):
            remove(below, each)
    finally:
        os.close(below)
    os.rmdir(name, dir_fd=fd)


def _strangers(fd: int, path: str) -> Iterator[str]:
    """Entries below an open directory that are not trusted, as sentences."""
    for name in os.listdir(fd):
        about = os.stat(name, dir_fd=fd, follow_symlinks=False)
        if why := why_not(about):
            yield f"{path}/{name} {why}"
        elif stat.S_ISDIR(about.st_mode):
            below = beneath(fd, name)
            try:
                yield from _strangers(below, f"{path}/{name}")
            finally:
                os.close(below)
