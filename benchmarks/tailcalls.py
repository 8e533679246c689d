"""A row of tail calls as machine code, in user space: what of one is the jump, and what the kernel's count of them.

The kernel allows a packet 33 tail calls. The JIT for x86-64 counts them in memory, by a pointer that is handed on over the stack
from program to program. These are its instructions for a program that does nothing but a tail call which the kernel has patched
to a direct jump, one after the other, with the count and without it.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_ENTER = "55 48 89e5 4831c0"  # push rbp; mov rbp, rsp; xor rax, rax: no tail call so far
_HAND_ON = "48 83f821 7706 50 4889e0 eb01 50 50"  # what is in rax is the count or its place; push the place, twice
_FIND = "48 8b85 f0ffffff"  # mov rax, [rbp - 16]
_TEST = "48 8338 21 73"  # cmp qword [rax], 33; jae over what follows
_READY = "0f1f440000"  # nop: there is a program
_COUNT = "48 8300 01"  # add qword [rax], 1
_POP = "58 58"
_LEAVE = "b802000000 c9 c3"  # mov eax, 2; leave; ret
_STRIDE, _PAGE = 128, 4096
_RUNS = 100_000
IS_KNOWN = platform.machine() == "x86_64"


@contextmanager
def row(count: int, *, counted: bool) -> Iterator[Callable[[], float]]:
    """Something that gives the nanoseconds that so many tail calls in a row take, with all that is around them."""
    code = mmap.mmap(-1, 2 * _PAGE + count * _STRIDE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    for number in range(count):
        _write(code, _PAGE + number * _STRIDE, _hop(counted), 0xE9, _PAGE + (number + 1) * _STRIDE)
    _write(code, _PAGE + count * _STRIDE, bytes.fromhex(_LEAVE))
    _write(code, _PAGE // 2, bytes.fromhex(_ENTER), 0xE9, _PAGE)
    _write(code, 0, bytes.fromhex("4889f9"), 0xE8, _PAGE // 2)  # mov rcx, rdi; again: call the first one
    _write(code, 8, bytes.fromhex("48ffc9 75f6 c3"))  # dec rcx; jnz again; ret
    start = ctypes.c_char.from_buffer(code)
    run = ctypes.CFUNCTYPE(None, ctypes.c_uint64)(ctypes.addressof(start))

    def turn() -> float:
        began = time.perf_counter_ns()
        run(_RUNS)
        return (time.perf_counter_ns() - began) / _RUNS

    try:
        yield turn
    finally:
        del start
        code.close()


def _hop(counted: bool) -> bytes:
    after = bytes.fromhex(_READY + (_COUNT if counted else "") + _POP)
    test = bytes.fromhex(_TEST) + bytes([len(after) + 5]) if counted else b""
    return bytes.fromhex(_HAND_ON + _FIND) + test + after


def _write(code: mmap.mmap, at: int, instructions: bytes, jump: int = 0, target: int = 0) -> None:
    """Instructions, and a jump (or call) to a place; behind a jump there is the way out, for a test that fails."""
    end = at + len(instructions)
    code[at:end] = instructions
    if jump:
        code[end : end + 5] = bytes([jump]) + struct.pack("<i", target - end - 5)
    if jump == 0xE9:
        out = bytes.fromhex(_LEAVE)
        code[end + 5 : end + 5 + len(out)] = out
