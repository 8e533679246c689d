"""Translates classic BPF, as libpcap compiles filters, to eBPF that is inlined in a cube's code.

The code takes the context in r1 and returns the filter's result in r0: the number of bytes of the packet to capture, 0 for none.
r1 to r5 are clobbered, and no helper is called. Its state (M[], a tag, a length) is on the stack below `depth`, the depth that
the cube's C uses.

A filter sees the packet as it is on a wire. Under TC a VLAN tag is skb metadata: its four bytes are inserted in the view at
byte 12, and each later byte of the view is 4 bytes earlier in the packet. Only bytes between data and data_end are visible:
bpf/lib/filter.h pulls the first `reach` bytes before.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from reconciler.link import code

MOST = 2048  # instructions of a filter
FARTHEST = 0x7FFF  # offsets from here on are out of bounds
COMPUTED = 128  # the bound of X in offsets that `reach` assumes: the longest headers of IPv4 and TCP
STACK = 76  # bytes that a filter uses at most

_A, _X, _CTX, _DATA, _END, _FP = 0, 4, 1, 2, 3, 10
_VIEW, _TEMPORARY = 1, 5  # r1, after the last use of the context: byte n of the view, from 16 on, is at r1 + n - 4
_TAG_AT, _TAG_END = 12, 16
_LD, _LDX, _ST, _STX, _ALU, _JMP, _RET, _MISC = range(8)
_SIZES = {0x00: 4, 0x08: 2, 0x10: 1}
_IMM, _ABS, _IND, _MEM, _LEN, _MSH = 0x00, 0x20, 0x40, 0x60, 0x80, 0xA0
_BY_X = 0x08
_DIV, _LSH, _RSH, _NEG, _MOD, _XOR = 0x30, 0x60, 0x70, 0x80, 0x90, 0xA0
_JA, _JEQ, _JGT, _JGE, _JSET = 0x00, 0x10, 0x20, 0x30, 0x40
_LOADS = {1: 0x71, 2: 0x69, 4: 0x61}  # by size


class Classic(NamedTuple):
    """struct sock_filter."""

    code: int
    jt: int
    jf: int
    k: int


def unpack(program: bytes) -> tuple[Classic, ...]:
    """Parses a program of libpcap: instructions of 8 bytes."""
    return tuple(Classic(*each) for each in struct.iter_unpack("<HBBI", program))


def reach(program: Sequence[Classic]) -> int:
    """The number of leading bytes of a packet that a filter reads."""
    ends = [0]
    for code_, _, _, k in program:
        if code_ & 7 == _LD and code_ & 0xE0 in (_ABS, _IND):
            ends.append(k + _SIZES[code_ & 0x18] + (COMPUTED if code_ & 0xE0 == _IND else 0))
        elif code_ & 7 == _LDX and code_ & 0xE0 == _MSH:
            ends.append(k + 1)
    return max(end for end in ends if end <= FARTHEST)


def translate(program: Sequence[Classic], flavour: str, depth: int) -> bytes:
    """The filter as eBPF. `flavour`: TC or XDP; `depth`: bytes of stack in use. Raises ValueError for an unsupported filter."""
    if not 0 < len(program) <= MOST:
        raise ValueError(f"a filter of {len(program)} instructions; {MOST} is the most")
    return _Translation(program, flavour == "TC", -(depth + 7) // 8 * 8).done()


@dataclass(slots=True)
class _Translation:
    """`out` has instructions, and jumps to labels that are not placed yet: (opcode, registers, immediate, label)."""

    program: Sequence[Classic]
    tc: bool
    below: int
    out: list[bytes | tuple[int, int, int, str]] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    fresh: int = 0

    def done(self) -> bytes:
        self._prologue()
        reached = {0}
        for at, each in enumerate(self.program):
            if at not in reached:
                continue
            reached.update(self._ways_on(at, each))
            self._place(f"i{at}")
            self._one(at, each)
        if not any(each.code & 7 == _RET for each in self.program):
            raise ValueError("a filter that never ends")
        if any(not isinstance(each, bytes) and each[3] == "none" for each in self.out):  # unreachable code is rejected
            self._place("none")
            self._add(code.set_register32(_A, 0))
        self._place("end")
        return b"".join(each if isinstance(each, bytes) else self._jump(at, each) for at, each in enumerate(self.out))

    def _ways_on(self, at: int, each: Classic) -> Iterator[int]:
        if each.code & 7 == _RET:
            return
        steps = (0,) if each.code & 7 != _JMP else (each.k,) if each.code & 0xF0 == _JA else (each.jt, each.jf)
        for step in steps:
            if at + 1 + step >= len(self.program):
                raise ValueError("a filter that jumps back: it has a loop, which the kernel's programs cannot have")
            yield at + 1 + step

    # -- assembling ---------------------------------------------------------------------------------------------------

    def _add(self, *instructions: bytes) -> None:
        for each in instructions:
            self.out.append(each)

    def _place(self, label: str) -> None:
        self.labels[label] = len(self.out)

    def _new(self) -> str:
        self.fresh += 1
        return f"l{self.fresh}"

    def _go(self, label: str, opcode: int = code.JUMP, dst: int = 0, src: int = 0, immediate: int = 0) -> None:
        self.out.append((opcode, src << 4 | dst, immediate, label))

    def _jump(self, at: int, jump: tuple[int, int, int, str]) -> bytes:
        opcode, registers, immediate, label = jump
        over = self.labels[label] - at - 1
        if over > 0x7FFF:
            raise ValueError("a filter that is too long for its jumps")
        return struct.pack("<BBhi", opcode, registers, over, _signed(immediate))

    # -- stack and prologue -------------------------------------------------------------------------------------------

    @property
    def _tag(self) -> int:
        return self.below - 4

    @property
    def _length(self) -> int:
        return self.below - 8

    def _memory(self, k: int) -> int:
        if k > 15:
            raise ValueError("a filter with more memory than there is")
        return self.below - 12 - 4 * k

    def _prologue(self) -> None:
        """r2 = data, r3 = data_end; under TC r1 = data, plus 4 if the metadata has no VLAN tag."""
        data, length = (76, code.load32(_TEMPORARY, _CTX, 0)) if self.tc else (0, code.copy(_TEMPORARY, _END))
        self._add(code.load32(_DATA, _CTX, data), code.load32(_END, _CTX, data + 4), length)
        if self.tc:
            tagged, ready = self._new(), self._new()
            self._add(code.load32(_X, _CTX, 20))
            self._go(tagged, 0x56, _X)
            self._add(code.store32(_FP, self._length, _TEMPORARY), code.put32(_FP, self._tag, 0))
            self._add(code.copy(_VIEW, _DATA), code.add(_VIEW, 4))
            self._go(ready)
            self._place(tagged)
            self._add(code.add(_TEMPORARY, 4), code.store32(_FP, self._length, _TEMPORARY))
            self._add(code.load32(_TEMPORARY, _CTX, 28), _big_endian(_TEMPORARY, 2), _alu(0x60, _TEMPORARY, 16))
            self._add(code.load32(_X, _CTX, 24), _alu_x(0x40, _TEMPORARY, _X), code.store32(_FP, self._tag, _TEMPORARY))
            self._add(code.copy(_VIEW, _DATA))
            self._place(ready)
        else:
            self._add(code.insn(0x1F, _TEMPORARY, _DATA), code.store32(_FP, self._length, _TEMPORARY))
        self._add(code.set_register32(_A, 0), code.set_register32(_X, 0))

    # -- one instruction ----------------------------------------------------------------------------------------------

    def _one(self, at: int, each: Classic) -> None:
        kind = each.code & 7
        if kind == _LD:
            self._load(each, _A)
        elif kind == _LDX:
            self._load(each, _X)
        elif kind in (_ST, _STX):
            self._add(code.store32(_FP, self._memory(each.k), _A if kind == _ST else _X))
        elif kind == _ALU:
            self._compute(each)
        elif kind == _JMP:
            self._branch(at, each)
        elif kind == _RET:
            self._add(*(() if each.code & 0x18 == 0x10 else (code.set_register32(_A, _signed(each.k)),)))
            self._go("end")
        else:
            self._add(_move(_A, _X) if each.code & 0x80 else _move(_X, _A))

    def _load(self, each: Classic, into: int) -> None:
        mode, size = each.code & 0xE0, _SIZES.get(each.code & 0x18, 0)
        if mode == _IMM:
            self._add(code.set_register32(into, _signed(each.k)))
        elif mode == _MEM:
            self._add(code.load32(into, _FP, self._memory(each.k)))
        elif mode == _LEN:
            self._add(code.load32(into, _FP, self._length))
        elif mode == _MSH:
            self._at(each.k, 1, into)
            self._add(_alu(0x50, into, 15), _alu(0x60, into, 2))
        elif mode == _ABS and size:
            self._at(each.k, size, into)
        elif mode == _IND and size:
            self._computed(each.k, size)
        else:
            raise ValueError(f"a filter with instruction {each.code:#04x}")

    def _at(self, offset: int, size: int, into: int) -> None:
        """Register `into` = bytes of the view at a constant offset; jumps to `none` if they are out of bounds."""
        if offset + size > FARTHEST:
            self._never()
        elif not self.tc or offset + size <= _TAG_AT:
            self._read(_DATA, offset, size, into)
        elif offset >= _TAG_END:
            self._read(_VIEW, offset - 4, size, into)
        elif offset >= _TAG_AT and offset + size <= _TAG_END:
            self._of_tag(offset, size, into)
        else:  # across an edge of the tag: byte by byte
            self._add(code.set_register32(into, 0))
            for each in range(offset, offset + size):
                self._at(each, 1, _TEMPORARY)
                self._add(_alu(0x60, into, 8), _alu_x(0x40, into, _TEMPORARY))

    def _never(self) -> None:
        """An unconditional jump to `none`, as a conditional one: the verifier rejects unreachable code after a plain jump."""
        self._add(code.set_register32(_TEMPORARY, 1))
        self._go("none", 0x56, _TEMPORARY)

    def _read(self, base: int, offset: int, size: int, into: int) -> None:
        self._add(code.copy(_TEMPORARY, base), code.add(_TEMPORARY, offset + size))
        self._go("none", 0x2D, _TEMPORARY, _END)
        self._add(code.insn(_LOADS[size], into, base, offset), *(() if size == 1 else (_big_endian(into, size),)))

    def _of_tag(self, offset: int, size: int, into: int) -> None:
        plain, done = self._new(), self._new()
        self._add(code.load32(_TEMPORARY, _FP, self._tag))
        self._go(plain, 0x16, _TEMPORARY)
        shift, mask = 8 * (_TAG_END - offset - size), (1 << 8 * size) - 1
        self._add(_move(into, _TEMPORARY), *((_alu(0x70, into, shift),) if shift else ()))
        self._add(*((_alu(0x50, into, mask),) if size < 4 else ()))
        self._go(done)
        self._place(plain)
        self._read(_DATA, offset, size, into)
        self._place(done)

    def _computed(self, offset: int, size: int) -> None:
        """A = bytes of the view at X + offset; jumps to `none` if they are out of bounds."""
        if offset > FARTHEST:
            self._never()
            offset = 0
        self._add(_move(_TEMPORARY, _X), code.add(_TEMPORARY, offset))  # of 64 bits: it does not wrap around
        self._go("none", 0x25, _TEMPORARY, immediate=FARTHEST - 4)
        if not self.tc:
            self._add(code.insn(0x0F, _TEMPORARY, _DATA))
        elif offset >= _TAG_END:
            self._add(code.add(_TEMPORARY, -4), code.insn(0x0F, _TEMPORARY, _VIEW))
        else:
            early, there = self._new(), self._new()
            self._go(early, 0xA5, _TEMPORARY, immediate=_TAG_END)
            self._add(code.add(_TEMPORARY, -4), code.insn(0x0F, _TEMPORARY, _VIEW))
            self._go(there)
            self._place(early)  # with a tag in the metadata, bytes of the view before 16 count as out of bounds
            self._add(code.load32(_A, _FP, self._tag))
            self._go("none", 0x56, _A)
            self._add(code.insn(0x0F, _TEMPORARY, _DATA))
            self._place(there)
        self._add(code.copy(_A, _TEMPORARY), code.add(_A, size))
        self._go("none", 0x2D, _A, _END)
        self._add(code.insn(_LOADS[size], _A, _TEMPORARY), *(() if size == 1 else (_big_endian(_A, size),)))

    def _compute(self, each: Classic) -> None:
        operation, by_x = each.code & 0xF0, bool(each.code & _BY_X)
        if operation > _XOR:
            raise ValueError(f"a filter with instruction {each.code:#04x}")
        if operation == _NEG:
            self._add(code.insn(0x84, _A))
        elif operation in (_DIV, _MOD) and not by_x and not each.k:
            raise ValueError("a filter that divides by zero")
        elif operation in (_LSH, _RSH) and not by_x and each.k > 31:
            self._add(code.set_register32(_A, 0))
        elif not by_x:
            self._add(_alu(operation, _A, each.k))
        elif operation in (_LSH, _RSH):
            small, done = self._new(), self._new()
            self._go(small, 0xA6, _X, immediate=32)
            self._add(code.set_register32(_A, 0))
            self._go(done)
            self._place(small)
            self._add(_alu_x(operation, _A, _X))
            self._place(done)
        else:
            if operation in (_DIV, _MOD):
                self._go("none", 0x16, _X)
            self._add(_alu_x(operation, _A, _X))

    def _branch(self, at: int, each: Classic) -> None:
        operation, by_x = each.code & 0xF0, each.code & _BY_X
        if operation == _JA:
            self._go(f"i{at + 1 + each.k}")
            return
        if operation > _JSET:
            raise ValueError(f"a filter with instruction {each.code:#04x}")
        self._go(f"i{at + 1 + each.jt}", operation | by_x | 0x06, _A, _X if by_x else 0, 0 if by_x else each.k)
        if each.jf:
            self._go(f"i{at + 1 + each.jf}")


def _signed(k: int) -> int:
    return k - (1 << 32) if k >= 1 << 31 else k


def _alu(operation: int, register: int, k: int) -> bytes:
    """Of 32 bits, with a constant."""
    return code.insn(operation | 0x04, register, immediate=_signed(k))


def _alu_x(operation: int, register: int, source: int) -> bytes:
    return code.insn(operation | 0x0C, register, source)


def _move(register: int, source: int) -> bytes:
    return code.insn(0xBC, register, source)


def _big_endian(register: int, size: int) -> bytes:
    return code.insn(0xDC, register, immediate=8 * size)
