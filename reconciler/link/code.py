"""Assembles and decodes the few BPF instructions that pcn generates itself."""

from __future__ import annotations

import struct

CTX, PORT, ROW = -512, -504, -496  # stack slots below the frame pointer, under the C's; bpf/pcn.h loads two of them
CB0 = 48  # offset of __sk_buff.cb[0]
XDP_DROP, TC_ACT_SHOT = 1, 2
MAP_LOOKUP, TAIL_CALL = 1, 12  # helpers
_MAP_FD = 1

LD_MAP, LOAD32, EXIT, JUMP = 0x18, 0x61, 0x95, 0x05  # opcodes that the linker searches for
_SET, _COPY = (0xB7, 0xB4), (0xBF, 0xBC)  # of 64 bits, of 32
_JUMPS, _CALL = (5, 6), 0x85  # classes of jump opcodes, and calls, which have one of these classes
_FP = 10


def insn(code: int, dst: int = 0, src: int = 0, offset: int = 0, immediate: int = 0) -> bytes:
    return struct.pack("<BBhi", code, src << 4 | dst, offset, immediate)


def set_register(register: int, value: int) -> bytes:
    return insn(0xB7, register, immediate=value)


def set_register32(register: int, value: int) -> bytes:
    """The upper half becomes zero, as with a load of 32 bits."""
    return insn(0xB4, register, immediate=value)


def asks_for(instruction: bytes) -> tuple[int, int] | None:
    """(register, slot) of a load of 32 bits from below the frame pointer; None for any other instruction."""
    opcode, registers, offset, _ = struct.unpack("<BBhi", instruction)
    return (registers & 15, offset) if (opcode, registers >> 4) == (LOAD32, _FP) else None


def set_to(instruction: bytes) -> tuple[int, int] | None:
    """(register, value) of an instruction that sets a register to a constant; None for any other."""
    opcode, registers, _, immediate = struct.unpack("<BBhi", instruction)
    return (registers & 15, immediate) if opcode in _SET else None


def target(body: bytes, at: int) -> int:
    """The target slot of the jump at a slot."""
    return at + 1 + int(struct.unpack_from("<h", body, 8 * at + 2)[0])


def targets(body: bytes) -> frozenset[int]:
    """The slots that some jump points to."""
    return frozenset(target(body, at) for at in jumps(body))


def jumps(body: bytes) -> list[int]:
    """The slots at which jumps are."""
    return [at for at, opcode in enumerate(body[::8]) if opcode & 7 in _JUMPS and opcode not in (_CALL, EXIT)]


def gives_back(body: bytes, register: int) -> bool:
    """Whether this code only returns the value of a register."""
    copied = len(body) >= 8 and body[0] in _COPY and body[1] == register << 4
    return body[8:9] == bytes([EXIT]) if copied else register == 0 and body[:1] == bytes([EXIT])


def places(body: bytes, opcode: int) -> list[int]:
    """The slots at which instructions with an opcode are. (The second slot of an instruction that takes two has opcode 0.)"""
    opcodes = body[::8]
    return [at for at, each in enumerate(opcodes) if each == opcode] if opcode in opcodes else []


def copy(register: int, source: int) -> bytes:
    return insn(0xBF, register, source)


def add(register: int, value: int) -> bytes:
    return insn(0x07, register, immediate=value)


def load32(register: int, base: int, offset: int) -> bytes:
    return insn(LOAD32, register, base, offset)


def load64(register: int, base: int, offset: int) -> bytes:
    return insn(0x79, register, base, offset)


def store32(base: int, offset: int, register: int) -> bytes:
    return insn(0x63, base, register, offset)


def store64(base: int, offset: int, register: int) -> bytes:
    return insn(0x7B, base, register, offset)


def put32(base: int, offset: int, value: int) -> bytes:
    """Store a constant; the verifier tracks it if the offset is a multiple of eight."""
    return insn(0x62, base, 0, offset, value)


def load_map(register: int, descriptor: int) -> bytes:
    return insn(LD_MAP, register, _MAP_FD, 0, descriptor) + insn(0)


def hold(descriptor: int) -> bytes:
    """Make the program reference a map, without using it; no code for -1. r0 is clobbered."""
    return load_map(0, descriptor) if descriptor >= 0 else b""


def call(helper: int) -> bytes:
    return insn(_CALL, immediate=helper)


def jump(slots: int) -> bytes:
    """Skips the next `slots` slots."""
    return insn(JUMP, offset=slots)


def jump_if_equal32(register: int, value: int, slots: int) -> bytes:
    return insn(0x16, register, offset=slots, immediate=value)


def jump_unless_equal32(register: int, value: int, slots: int) -> bytes:
    return insn(0x56, register, offset=slots, immediate=value)


def jump_if_less32(register: int, value: int, slots: int) -> bytes:
    """A signed comparison."""
    return insn(0xC6, register, offset=slots, immediate=value)


def leave() -> bytes:
    return insn(EXIT)


def slots(code: bytes) -> int:
    """Length in instructions of 8 bytes; jumps and line tables count these."""
    return len(code) // 8


def look_up(table: int, key: int, at: int) -> bytes:
    """r0 = the row of an array with a constant key, which is stored on the stack at `at`; r1 to r5 are clobbered."""
    return put32(_FP, at, key) + copy(2, _FP) + add(2, at) + load_map(1, table) + call(MAP_LOOKUP)


def tail_call(row: int) -> bytes:
    """r1 holds the context, r2 the program array. Falls through only if the slot is empty. A constant row is a direct jump once
    the kernel has patched it."""
    return set_register(3, row) + call(TAIL_CALL)
