"""Features of this kernel, found by probes: version numbers are wrong on distributions that backport, or disable, features.

Each probe creates the smallest object that needs the feature and closes it at once, or only reads. Probes that need a netdev run
in an unnamed network namespace, which the kernel destroys afterwards even if the process is killed. No probe loads a module.
"""
from __future__ import annotations

import ctypes
import functools
import os
import resource
import struct
from collections.abc import Callable
from dataclasses import dataclass

from reconciler.errors import KernelError
from reconciler.incremental.memo import once
from reconciler.kernel import bpf, maps, netns, programs
from reconciler.kernel.linkkinds import can_make
from reconciler.kernel.release import is_older_than

LINK_KINDS = ("veth", "dummy", "vxlan", "vlan", "bridge", "macvlan", "ifb")

_LOOPBACK = 1  # lo is the first netdev of every namespace
_EXIT = struct.pack("<BBhi", 0xB7, 0, 0, 0) + struct.pack("<BBhi", 0x95, 0, 0, 0)  # r0 = 0; exit
_REDIRECT_PEER = b"".join(
    struct.pack("<BBhi", code, register, 0, value)
    for code, register, value in ((0xB7, 1, 1), (0xB7, 2, 0), (0x85, 0, 155), (0x95, 0, 0))  # r1 = 1; r2 = 0; call; exit
)


@dataclass(frozen=True, slots=True)
class Feature:
    """`why`: the probe's finding; `needs`: the requirements of the feature."""

    name: str
    present: bool
    why: str
    needs: str


def features() -> dict[str, Feature]:
    """All features, by name, in the order of display. Never raises."""
    return {name: feature(name) for name in _PROBES}


@once
def feature(name: str) -> Feature:
    """One feature, probed once per process. Raises KeyError for a name that is not in `features()`."""
    probe, needs = _PROBES[name]
    try:
        return Feature(name, True, probe() or "works", needs)
    except _Absent as absence:
        return Feature(name, False, str(absence), needs)
    except (OSError, KernelError) as failure:
        words = os.strerror(failure.errno) if failure.errno else str(failure)
        return Feature(name, False, f"the probe met: {words}", needs)


class _Absent(Exception):
    """Raised by a probe: the feature is absent, and this is why."""


def _permitted() -> str:
    os.close(maps.create(maps.MapSpec(maps.ARRAY, 4, 4, 1)))
    return "a map can be made"


def _bpffs() -> str:
    with open("/proc/filesystems", encoding="ascii") as file:
        if not any(line.split()[-1] == "bpf" for line in file):
            raise _Absent("not in /proc/filesystems")
    with open("/proc/self/mounts", encoding="utf-8") as file:
        mounts = [fields[1] for fields in map(str.split, file) if fields[2] == "bpf"]
    return f"mounted at {mounts[0]}" if mounts else "can be mounted"


def _tcx() -> str:
    bpf.hook_programs(_LOOPBACK, bpf.ATTACH_TCX_INGRESS)  # a thousand times cheaper than attaching
    return "the hook is there"


def _xdp_link() -> str:
    program = programs.load(_EXIT, bpf.XDP, "probe")
    try:
        with netns.throwaway():
            os.close(bpf.link_create(program, _LOOPBACK, bpf.ATTACH_XDP, bpf.XDP_FLAGS_SKB_MODE))
    finally:
        os.close(program)
    return "a program can be attached"


def _redirect_peer() -> str:
    os.close(programs.load(_REDIRECT_PEER, bpf.SCHED_CLS, "probe"))
    return "the verifier knows the helper"


def _batch() -> str:
    spec = maps.MapSpec(maps.HASH, 4, 4, 1)
    table = maps.create(spec)
    key, value = (ctypes.create_string_buffer(4) for _ in range(2))
    try:
        bpf.bpf(bpf.MAP_UPDATE_BATCH, struct.pack("<QQQQIIQQ", 0, 0, bpf.address(key), bpf.address(value), 1, table, 0, 0))
    finally:
        os.close(table)
    return "many rows can be written in one call"


def _ringbuf() -> str:
    os.close(maps.create(maps.MapSpec(maps.RINGBUF, 0, 0, os.sysconf("SC_PAGESIZE"))))
    return "a ring buffer can be made"


def _btf() -> str:
    size = os.stat("/sys/kernel/btf/vmlinux").st_size
    return f"/sys/kernel/btf/vmlinux, {size} bytes"


def _jit() -> str:
    """Read from a program, since the sysctl is visible in the initial network namespace only."""
    fd = programs.load(_EXIT, bpf.SCHED_CLS, "probe")
    try:
        if not programs.jited(fd):
            raise _Absent("net.core.bpf_jit_enable is 0: programs are interpreted, many times slower")
    finally:
        os.close(fd)
    return "programs run as machine code"


def _unprivileged_off() -> str:
    if _number("/proc/sys/kernel/unprivileged_bpf_disabled") == 0:
        raise _Absent("kernel.unprivileged_bpf_disabled is 0: every user may load programs")
    return "only privileged users may load programs"


def _memlock() -> str:
    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if not is_older_than("5.11"):
        return "BPF memory is accounted to the cgroup, not to RLIMIT_MEMLOCK"
    if limit != resource.RLIM_INFINITY:
        raise _Absent(f"RLIMIT_MEMLOCK is {limit} bytes")
    return "RLIMIT_MEMLOCK is unlimited"


def _link_kind(kind: str) -> str:
    """Without creating one, which would load its module, and some modules create netdevs."""
    if not can_make(kind):
        raise _Absent("the kernel does not know this kind of netdev")
    return "netdevs of this kind can be made"


def _number(path: str) -> int:
    with open(path, encoding="ascii") as file:
        return int(file.read())


_PROBES: dict[str, tuple[Callable[[], str], str]] = {
    "bpf": (_permitted, "root, or CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"),
    "bpffs": (_bpffs, "CONFIG_BPF_SYSCALL"),
    "tcx": (_tcx, "Linux 6.6; without it pcn uses clsact filters"),
    "xdp-link": (_xdp_link, "Linux 5.9"),
    "redirect-peer": (_redirect_peer, "Linux 5.10"),
    "batch": (_batch, "Linux 5.6; without it rows are written one by one"),
    "ringbuf": (_ringbuf, "Linux 5.8"),
    "btf": (_btf, "CONFIG_DEBUG_INFO_BTF"),
    "jit": (_jit, "CONFIG_BPF_JIT and net.core.bpf_jit_enable=1"),
    "unprivileged-bpf-disabled": (_unprivileged_off, "kernel.unprivileged_bpf_disabled=2"),
    "memlock": (_memlock, "Linux 5.11, or ulimit -l unlimited"),
    **{f"link-{kind}": (functools.partial(_link_kind, kind), f"CONFIG_{config}") for kind, config in zip(
        LINK_KINDS, ("VETH", "DUMMY", "VXLAN", "VLAN_8021Q", "BRIDGE", "MACVLAN", "IFB"), strict=True)},
}
