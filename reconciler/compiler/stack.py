"""Stack usage of compiled code."""

from __future__ import annotations

import struct
from collections.abc import Iterator

STACK = 488  # bytes of a program; the linker passes values between programs in the rest (bpf/pcn.h)

_LD_IMM64, _LDX, _ST, _STX, _ADD, _FRAME = 0x18, 1, 2, 3, 0x07, 10  # an opcode, three classes, r += immediate, and r10
_LD_SLOT = 0x61  # how pcn.h loads the linker's values


def stack_of(insns: bytes) -> int:
    """Bytes below the frame pointer that the code uses."""
    return max((depth for _, depth in depths(insns)), default=0)


def depths(insns: bytes | bytearray) -> Iterator[tuple[int, int]]:
    """(slot, bytes below the frame pointer) wherever the stack is used: by an offset from r10, or an address derived from it."""
    at, before = 0, b""
    while at < len(insns):
        code, registers, offset, immediate = struct.unpack_from("<BBhi", insns, at)
        base = registers >> 4 if code & 7 == _LDX else registers & 15
        if code & 7 in (_LDX, _ST, _STX) and base == _FRAME and code != _LD_SLOT and offset < 0:
            yield at // 8, -offset
        if code == _ADD and -512 <= immediate < 0 and before == bytes((0xBF, _FRAME << 4 | base)):  # after `register = r10`
            yield at // 8, -immediate
        before = bytes(insns[at : at + 2])
        at += 16 if code == _LD_IMM64 else 8
