"""Network namespaces by name, exchangeable with those of `ip netns`: a name is a bind mount in /run/netns.

Python below 3.12 has no `os.setns`, and iproute2 would be a process for each step, so this module uses the system calls. A
namespace belongs to a thread, not to a process: everything below affects the calling thread only.
"""
from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from reconciler.errors import kernel_error

RUN_DIR = Path("/run/netns")

_CLONE_NEWNET = 0x40000000
_MS_BIND, _MS_REC, _MS_SHARED = 0x1000, 0x4000, 1 << 20
_MNT_DETACH = 2
_OWN = "/proc/thread-self/ns/net"
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1

_libc = ctypes.CDLL(None, use_errno=True)


def names() -> list[str]:
    """The named network namespaces, sorted. Files without one (from a killed `create`) are omitted."""
    try:
        entries = sorted(os.listdir(RUN_DIR))
    except FileNotFoundError:
        return []
    return [name for name in entries if _is_namespace(RUN_DIR / name)]


def exists(name: str) -> bool:
    """Whether a namespace of this name exists."""
    return _is_namespace(RUN_DIR / name)


def create(name: str) -> None:
    """Create an empty namespace with its loopback up.

    A kill leaves at most a plain file, which the next `create` or `delete` of that name handles. Raises KernelError (EEXIST if
    the namespace exists).
    """
    path = RUN_DIR / name
    try:
        with _prepared_run_dir():
            if _is_namespace(path):
                raise kernel_error(f"create the network namespace '{name}'", errno.EEXIST)
            path.touch(mode=0o444)
            with throwaway():
                raise_loopback()
                _mount(_OWN, path, _MS_BIND)
    except OSError as failure:
        with suppress(OSError):
            path.unlink()
        needed = "network namespaces take CAP_SYS_ADMIN" if failure.errno in (errno.EPERM, errno.EACCES) else ""
        raise kernel_error(f"create the network namespace '{name}'", failure.errno or 0, needed) from failure


def delete(name: str) -> bool:
    """Remove the name; False if there was none. Raises KernelError.

    The kernel destroys the namespace and its netdevs some milliseconds later, once no process or socket is in it.
    """
    path = RUN_DIR / name
    try:
        while _libc.umount2(os.fsencode(path), _MNT_DETACH) == 0:  # mounts can be stacked
            continue
        if ctypes.get_errno() not in (errno.EINVAL, errno.ENOENT):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as failure:
        raise kernel_error(f"delete the network namespace '{name}'", failure.errno or 0) from failure
    return True


@contextmanager
def inside(name: str | None) -> Iterator[None]:
    """Run the block with this thread in the namespace `name` (None: the present one), and return to the present one.

    Sockets opened in the block stay in the namespace, and can be used afterwards. /sys still shows the namespace in which it was
    mounted; /proc/net and /proc/sys/net follow the thread. Raises KernelError if there is no such namespace.
    """
    if name is None:
        yield
        return
    try:
        target = os.open(RUN_DIR / name, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as failure:
        raise kernel_error(f"enter the network namespace '{name}'", failure.errno or 0) from failure
    with _returning():
        try:
            if _libc.setns(target, _CLONE_NEWNET):
                raise kernel_error(f"enter the network namespace '{name}'", ctypes.get_errno())
        finally:
            os.close(target)
        yield


@contextmanager
def throwaway() -> Iterator[None]:
    """Run the block with this thread in a new, unnamed namespace, which the kernel destroys afterwards, even if the process is
    killed. Raises OSError."""
    with _returning():
        if _libc.unshare(_CLONE_NEWNET):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        yield


@contextmanager
def _returning() -> Iterator[None]:
    own = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        # setns also fails for an ordinary user who could not enter the other namespace, and so has not left this one.
        stranded = _libc.setns(own, _CLONE_NEWNET) != 0 and os.stat(_OWN).st_ino != os.fstat(own).st_ino
        os.close(own)
        if stranded:  # continuing would change another network
            raise SystemExit("pcn: cannot return to its own network namespace")


def _is_namespace(path: Path) -> bool:
    """Whether a file is on the kernel's file system of namespaces: the same device as our own."""
    try:
        return os.stat(path).st_dev == os.stat(_OWN).st_dev
    except OSError:
        return False


@contextmanager
def _prepared_run_dir() -> Iterator[None]:
    """Make /run/netns a shared mount, as `ip netns add` does (and under its lock), and hold the lock during the block.

    Otherwise a later `ip netns add` would mount the directory over itself and hide our namespaces.
    """
    RUN_DIR.mkdir(mode=0o755, parents=True, exist_ok=True)
    lock = os.open(RUN_DIR, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            _mount("none", RUN_DIR, _MS_SHARED | _MS_REC)
        except OSError as failure:
            if failure.errno != errno.EINVAL:  # EINVAL: not a mount point yet
                raise
            _mount(RUN_DIR, RUN_DIR, _MS_BIND | _MS_REC)
            _mount("none", RUN_DIR, _MS_SHARED | _MS_REC)
        yield
    finally:
        os.close(lock)


def _mount(source: str | Path, target: Path, flags: int) -> None:
    if _libc.mount(os.fsencode(source), os.fsencode(target), b"none", ctypes.c_ulong(flags), None):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(target))


def raise_loopback() -> None:
    """Set lo up: in a new namespace it is down, and a host could not reach its own addresses."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        flags = fcntl.ioctl(sock, _SIOCGIFFLAGS, struct.pack("16sH14x", b"lo", 0))
        (current,) = struct.unpack_from("H", flags, 16)
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", current | _IFF_UP))
