"""Privileges that a worker drops before the first packet.

It runs as root, the owner of the pins in bpffs, but keeps CAP_NET_RAW alone, to send packets; cannot regain privileges by
execve; and where the kernel has Landlock, can read only Python's own files and write none. Maps are opened by their pins,
which needs no capability since Linux 6.0. It ends with its agent.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
from collections.abc import Iterable
from contextlib import suppress

_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 24, 38
_CAP_NET_RAW = 13
_LAST_CAPABILITY = 63
_CAPABILITY_VERSION = 0x20080522
_CAPSET = {"x86_64": 126, "aarch64": 91, "riscv64": 91, "s390x": 185, "ppc64le": 184}
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_PATH_BENEATH = 1
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # number of file access rights by Landlock ABI version
_NO_SIGNALS_OUT = 1 << 1  # LANDLOCK_SCOPE_SIGNAL, since ABI version 6
_READABLE = ("/usr", "/lib", "/lib64", "/etc/localtime", "/sys/devices/system/cpu")

_libc = ctypes.CDLL(None, use_errno=True)


def end_with(parent: int) -> None:
    """Get SIGKILL when the thread that started this process ends. Exits at once if `parent` ended already."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit(0)


def drop(readable: Iterable[str]) -> None:
    """Keep only CAP_NET_RAW, and with Landlock read access below `readable`. Raises OSError if capset fails."""
    for number in range(_LAST_CAPABILITY + 1):
        if number != _CAP_NET_RAW:
            _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)
    _checked(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):  # a kernel without Landlock
        _confine(readable)
    kept = 1 << _CAP_NET_RAW
    header, sets = struct.pack("<Ii", _CAPABILITY_VERSION, 0), struct.pack("<6I", kept, kept, 0, 0, 0, 0)
    if os.uname().machine in _CAPSET:
        _checked(_libc.syscall(_CAPSET[os.uname().machine], header, sets), "capset")


def _confine(readable: Iterable[str]) -> None:
    version = _checked(_libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1), "landlock")
    rights = (1 << _RIGHTS.get(version, 16)) - 1
    attributes = struct.pack("<QQQ", rights, 0, _NO_SIGNALS_OUT) if version >= 6 else struct.pack("<Q", rights)
    ruleset = _checked(_libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0), "landlock")
    try:
        for path in dict.fromkeys((*readable, *_READABLE)):
            if os.path.exists(path):
                _allow(ruleset, path)
        _checked(_libc.syscall(_RESTRICT_SELF, ruleset, 0), "landlock")
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str) -> None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = struct.pack("=Qi", _READ_FILE | (_READ_DIR if os.path.isdir(path) else 0), fd)
        _checked(_libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0), "landlock")
    finally:
        os.close(fd)


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result
