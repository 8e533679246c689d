"""BPF programs: load (with the verifier's log on failure), description, and test runs on a packet."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import struct
import sys
from typing import NamedTuple

from reconciler.errors import VerifierError, kernel_error
from reconciler.kernel import bpf, maps

_LOG_BYTES = 1 << 20
_LOG_STATISTICS = 4  # log_level: only statistics
_FOREIGN_TO_VERIFIER = (errno.EPERM, errno.ENOMEM, errno.E2BIG)


class ProgramInfo(NamedTuple):
    """`tag` is the kernel's digest of the instructions without map addresses; `xlated`: bytes after verification; `maps`: ids."""

    identity: int
    type: int
    tag: str
    name: str
    xlated: int
    maps: tuple[int, ...]


def load(instructions: bytes, program_type: int, name: str) -> int:
    """Load a GPL program; returns its descriptor.

    The first attempt requests no log, which is much faster; after a failure the load is repeated with one. Raises VerifierError
    with the log in `detail`, or another KernelError.
    """
    try:
        return _load(instructions, program_type, name, 0, None)
    except OSError as error:
        refusal = error.errno or 0
    log = ctypes.create_string_buffer(_LOG_BYTES)
    try:
        return _load(instructions, program_type, name, 1, log)
    except OSError as error:
        text = log.value.decode("utf-8", "replace")
        number = error.errno or refusal
        if (text.strip() and number not in _FOREIGN_TO_VERIFIER) or "processed" in text:
            raise VerifierError(f"load program {name}: the verifier refused it", number, text) from None
        raise kernel_error(f"load program {name}", number, text) from None


def verify(instructions: bytes, program_type: int, name: str) -> int:
    """Load a program and close it; returns the number of instructions that the verifier processed. Raises as `load`."""
    log = ctypes.create_string_buffer(_LOG_BYTES)
    try:
        os.close(_load(instructions, program_type, name, _LOG_STATISTICS, log))
    except OSError:
        os.close(load(instructions, program_type, name))  # fails again, with the complete log
        raise
    walked = re.search(rb"processed (\d+) insns", log.value)
    return int(walked[1]) if walked else 0


def _load(instructions: bytes, program_type: int, name: str, level: int, log: ctypes.Array[ctypes.c_char] | None) -> int:
    address, size = (bpf.address(log), _LOG_BYTES) if log is not None else (None, 0)
    of = (program_type, len(instructions) // 8, instructions, b"GPL", level, size, address)
    return bpf.bpf(bpf.PROG_LOAD, _Loaded(*of, name=maps.kernel_name(name)))


class _Loaded(ctypes.Structure):
    """Attributes of a program's load."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("count", ctypes.c_uint32),
        ("instructions", ctypes.c_char_p),
        ("licence", ctypes.c_char_p),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log", ctypes.c_void_p),
        ("kernel_version", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("name", ctypes.c_char * 16),
    )


def info(fd: int, *, with_maps: bool = False) -> ProgramInfo:
    described = _Described()
    map_ids = _MapIds() if with_maps else None
    if map_ids is not None:
        _INFO.pack_into(described, 0, 0, 0, b"", 0, 0, len(map_ids), bpf.address(map_ids), b"")
    bpf.describe(fd, described)
    kind, identity, tag, _, xlated, count, _, name = _INFO.unpack_from(described)
    used = () if map_ids is None else tuple(map_ids[: min(count, len(map_ids))])
    said, called = map(sys.intern, (tag.hex(), name.rstrip(b"\0").decode("ascii", "replace")))  # of a thousand many are equal
    return ProgramInfo(identity, kind, said, called, xlated, used)


_INFO = struct.Struct("<II8sII28xIQ16s")  # type, id, tag, jited and translated bytes, count and address of map ids, name
_Described = ctypes.c_char * _INFO.size
_MapIds = ctypes.c_uint32 * 64  # the most maps that a program can use


def instructions(fd: int) -> bytes:
    """The instructions after verification, 8 bytes each, without dead ones."""
    code = ctypes.create_string_buffer(info(fd).xlated)
    described = ctypes.create_string_buffer(232)
    struct.pack_into("<I", described, 20, len(code))
    struct.pack_into("<Q", described, 32, bpf.address(code))
    bpf.bpf(bpf.OBJ_INFO, struct.pack("<IIQ", fd, len(described), bpf.address(described)))
    return code.raw


def identity(fd: int) -> int:
    """The id alone, which is what a no-op reconcile needs of most programs."""
    return int(struct.unpack_from("<II", bpf.object_info(fd, 8))[1])


def jited(fd: int) -> int:
    """Bytes of machine code; 0 if the program is interpreted."""
    return int(struct.unpack_from("<I", bpf.object_info(fd, 20), 16)[0])


def test_run(fd: int, packet: bytes, *, repeat: int = 1, context: bytes = b"") -> tuple[int, bytes, int]:
    """Run a program on `packet`: (return value, packet afterwards, nanoseconds a run). Raises OSError."""
    data = ctypes.create_string_buffer(packet, len(packet))
    out = ctypes.create_string_buffer(len(packet) + 256)
    ctx = ctypes.create_string_buffer(context, len(context)) if context else None
    attributes = ctypes.create_string_buffer(
        struct.pack(
            "<IIIIQQIIIIQQIIII",
            fd,
            0,
            len(packet),
            len(out),
            bpf.address(data),
            bpf.address(out),
            repeat,
            0,
            len(context),
            0,
            bpf.address(ctx) if ctx is not None else 0,
            0,
            0,
            0,
            0,
            0,
        ),
        80,
    )
    bpf.bpf(bpf.PROG_TEST_RUN, attributes)
    (verdict,) = struct.unpack_from("<I", attributes.raw, 4)
    (size,) = struct.unpack_from("<I", attributes.raw, 12)
    (duration,) = struct.unpack_from("<I", attributes.raw, 36)
    return verdict, out.raw[:size], duration
