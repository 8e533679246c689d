"""The bpf(2) system call, and nothing else.

Why not libbpf or BCC: a no-op apply must not load either, and pcn needs few fields. All functions take and return plain values;
file descriptors are ints that the caller closes.

Attribute layouts follow `union bpf_attr` of <linux/bpf.h>; the kernel accepts a shorter union and treats the rest as zero, so
only the fields in use are packed.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass

from reconciler.errors import kernel_error

_SYSCALL = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "s390x": 351, "ppc64le": 361}.get(os.uname().machine, -1)  # ENOSYS
_syscall: Callable[..., int] = ctypes.CDLL(None, use_errno=True).syscall
_MOST_TRIES = 6

# Commands (enum bpf_cmd).
MAP_CREATE, MAP_LOOKUP, MAP_UPDATE, MAP_DELETE, MAP_NEXT_KEY, PROG_LOAD, OBJ_PIN, OBJ_GET = range(8)
PROG_TEST_RUN, PROG_NEXT_ID, MAP_NEXT_ID, PROG_BY_ID, MAP_BY_ID, OBJ_INFO, PROG_QUERY = range(10, 17)
MAP_FREEZE, LINK_CREATE, LINK_UPDATE, LINK_BY_ID, LINK_NEXT_ID, LINK_DETACH = 22, 28, 29, 30, 31, 34
BTF_LOAD = 18
MAP_LOOKUP_BATCH, MAP_UPDATE_BATCH, MAP_DELETE_BATCH = 24, 26, 27

SCHED_CLS, XDP = 3, 6  # enum bpf_prog_type


def bpf(command: int, attributes: bytes | ctypes.Array[ctypes.c_char] | ctypes.Structure) -> int:
    """One bpf(2) call. Raises OSError with the kernel's errno. EAGAIN, the verifier's result on a signal, is retried.

    `attributes` are passed without a copy: an array or a structure if the kernel may write results to them."""
    given: object
    if isinstance(attributes, bytes):
        given, size = attributes, len(attributes)
    else:
        given, size = ctypes.byref(attributes), ctypes.sizeof(attributes)
    tries = 0  # failed calls
    while (result := _syscall(_SYSCALL, command, given, size)) < 0:
        number, tries = ctypes.get_errno(), tries + 1
        if number != errno.EAGAIN or tries == _MOST_TRIES:
            raise OSError(number, os.strerror(number))
    return result


class Named(ctypes.Structure):
    """Attributes of the commands on pins. A c_char_p field points to its bytes object, and references it."""

    _fields_ = (("path", ctypes.c_char_p), ("fd", ctypes.c_uint32), ("flags", ctypes.c_uint32))


class Row(ctypes.Structure):
    """Attributes of the commands on one row of a map. The bytes objects are referenced, not copied."""

    _fields_ = (("fd", ctypes.c_uint32), ("key", ctypes.c_char_p), ("value", ctypes.c_char_p), ("flags", ctypes.c_uint64))


class SoughtRow(ctypes.Structure):
    """Attributes of a lookup, which writes to a buffer at `value`."""

    _fields_ = (("fd", ctypes.c_uint32), ("key", ctypes.c_char_p), ("value", ctypes.c_void_p), ("flags", ctypes.c_uint64))


class _Described(ctypes.Structure):
    _fields_ = (("fd", ctypes.c_uint32), ("size", ctypes.c_uint32), ("info", ctypes.c_void_p))


def address(buffer: ctypes.Array[ctypes.c_char] | ctypes.Array[ctypes.c_uint32]) -> int:
    return ctypes.addressof(buffer)


def pin(fd: int, path: str) -> None:
    """Pin an object at a new name; raises KernelError (EEXIST if the name is taken)."""
    try:
        bpf(OBJ_PIN, Named(_encoded(path), fd))
    except OSError as error:
        raise kernel_error(f"pin {path}", error.errno or 0) from None


def open_pin(path: str) -> int:
    """A new descriptor of the object pinned at `path`. Raises OSError: callers often expect ENOENT."""
    return bpf(OBJ_GET, Named(_encoded(path)))


def _encoded(path: str) -> bytes:
    """Same as `os.fsencode`, in a third of the time."""
    return path.encode("utf-8", "surrogateescape")


def object_info(fd: int, size: int) -> bytes:
    """The first `size` bytes of `struct bpf_{map,prog,link}_info` of a descriptor."""
    info = (ctypes.c_char * size)()
    describe(fd, info)
    return info.raw


def describe(fd: int, info: ctypes.Array[ctypes.c_char]) -> None:
    """As `object_info`, into a buffer whose fields request further data (like the ids of maps)."""
    bpf(OBJ_INFO, _Described(fd, len(info), ctypes.addressof(info)))


def ids(next_command: int) -> list[int]:
    """Every id of one kind of object in this kernel, in order."""
    found: list[int] = []
    current = 0
    while True:
        attributes = ctypes.create_string_buffer(struct.pack("<III", current, 0, 0), 12)
        try:
            bpf(next_command, attributes)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return found
            raise
        current = struct.unpack_from("<I", attributes.raw, 4)[0]
        found.append(current)


def fd_by_id(command: int, identity: int) -> int:
    return bpf(command, struct.pack("<III", identity, 0, 0))


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """A bpf_link. `ifindex` 0: its netdev was deleted and the link is defunct. `attach_type` is 0 for XDP links."""

    identity: int
    kind: int
    program: int
    ifindex: int
    attach_type: int


LINK_TYPE_XDP, LINK_TYPE_TCX = 6, 11
ATTACH_XDP, ATTACH_TCX_INGRESS, ATTACH_TCX_EGRESS = 37, 46, 47
XDP_FLAGS_SKB_MODE, XDP_FLAGS_DRV_MODE = 2, 4


def link_create(program: int, ifindex: int, attach_type: int, flags: int = 0) -> int:
    """Attach a program; returns the link's descriptor. Raises OSError (EBUSY: held by another; EOPNOTSUPP: no native XDP)."""
    return bpf(LINK_CREATE, struct.pack("<IIIIIIQ", program, ifindex, attach_type, flags, 0, 0, 0))


def link_update(link: int, program: int, expected: int | None) -> None:
    """Replace a link's program; with `expected`, only if that is the current program (EPERM otherwise)."""
    replace = 4 if expected is not None else 0
    bpf(LINK_UPDATE, struct.pack("<IIII", link, program, replace, expected or 0))


def link_info(fd: int) -> LinkInfo:
    kind, identity, program, _, ifindex, attach_type = struct.unpack_from("<6I", object_info(fd, 64))
    return LinkInfo(identity, kind, program, ifindex, attach_type if kind == LINK_TYPE_TCX else 0)


def hook_programs(ifindex: int, attach_type: int) -> list[int]:
    """Ids of the programs on a TCX hook, in the order in which they run. Raises OSError."""
    return [program for program, _ in hook_links(ifindex, attach_type)]


def hook_links(ifindex: int, attach_type: int) -> list[tuple[int, int]]:
    """As `hook_programs`, each with the id of its bpf_link, 0 if it has none. Raises OSError."""
    programs, links = (ctypes.c_uint32 * 64)(), (ctypes.c_uint32 * 64)()
    attributes = ctypes.create_string_buffer(
        struct.pack("<IIIIQIIQQQQ", ifindex, attach_type, 0, 0, address(programs), 64, 0, 0, address(links), 0, 0), 64
    )
    bpf(PROG_QUERY, attributes)
    count = struct.unpack_from("<I", attributes.raw, 24)[0]
    return list(zip(programs[:count], links[:count], strict=True))
