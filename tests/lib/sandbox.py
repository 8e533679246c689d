"""A machine of its own, as far as network, mounts and pins go, for a process that runs tests.

    enter_sandbox()    # once, at the start, in the main thread

From then on this process and its children see no netdev but their own lo, no named namespace, an empty bpffs and an empty /run.
Runs side by side cannot meet, and what a killed one leaves goes with its last process: the kernel takes a network namespace
apart that nobody is in, and a bpffs that nobody has mounted. BPF ids alone are the whole machine's; see tests/lib/residue.py.
"""
from __future__ import annotations

import ctypes
import os

from reconciler.kernel import netns

_CLONE_NEWNS, _CLONE_NEWNET = 0x00020000, 0x40000000
_MS_REC, _MS_PRIVATE = 0x4000, 1 << 18

_libc = ctypes.CDLL(None, use_errno=True)


def enter_sandbox() -> None:
    """Needs root. Threads that are there already stay where they were. Raises OSError.

    /sys stays as it is, so that /sys/class/net shows the netdevs of the machine (but nothing here reads it).
    """
    _checked(_libc.unshare(_CLONE_NEWNET | _CLONE_NEWNS), "unshare")
    _mount("none", "/", "none", _MS_REC | _MS_PRIVATE)  # what is mounted here shall not be seen elsewhere
    _mount("tmpfs", "/run", "tmpfs", 0, "mode=755")  # /run/netns and /run/pcn
    _mount("bpf", "/sys/fs/bpf", "bpf")
    netns.raise_loopback()


def _mount(source: str, target: str, kind: str, flags: int = 0, options: str = "") -> None:
    code = _libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode() or None)
    _checked(code, f"mount {target}")


def _checked(code: int, what: str) -> None:
    if code:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
