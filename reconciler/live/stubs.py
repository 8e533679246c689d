"""The program by which a packet enters a cube: assembled here, because it is the same few instructions every time.

A stub says where the packet arrived and jumps to the cube's entry. Both are constants in its instructions, so it
looks nothing up, and the kernel turns the jump into a direct one. Since neighbours and netdevs hold stubs and only
stubs hold the entry, a cube is swapped by one write.
"""

from __future__ import annotations

import struct

_MAP_FD, _TAIL_CALL, _MAP_LOOKUP = 1, 12, 1
_CB0 = 48  # offset of __sk_buff.cb[0]
XDP_DROP, TC_ACT_SHOT = 1, 2


def _insn(code: int, dst: int = 0, src: int = 0, offset: int = 0, immediate: int = 0) -> bytes:
    return struct.pack("<BBhi", code, src << 4 | dst, offset, immediate)


def _map(register: int, fd: int) -> bytes:
    return _insn(0x18, register, _MAP_FD, 0, fd) + _insn(0)


def _jump(entry: int, row: int, otherwise: int) -> bytes:
    """r1 holds the context: tail call into `entry`, or `otherwise` if nothing is there."""
    return (
        _map(2, entry)
        + _insn(0xB7, 3, immediate=row)
        + _insn(0x85, immediate=_TAIL_CALL)
        + _insn(0xB7, 0, immediate=otherwise)
        + _insn(0x95)
    )


def tc(port: int, entry: int, row: int) -> bytes:
    """cb[0] = port; jump. `entry` is the descriptor of the cube's entry array."""
    return _insn(0xB7, 2, immediate=port) + _insn(0x63, 1, 2, _CB0) + _jump(entry, row, TC_ACT_SHOT)


def xdp(port: int, entry: int, row: int, arrival: int) -> bytes:
    """*arrival[0] = port; jump. `arrival` is the descriptor of the host's per-CPU arrival slot."""
    return (
        _insn(0xBF, 6, 1)  # r6 = ctx
        + _insn(0x62, 10, 0, -4, 0)  # *(u32 *)(fp - 4) = 0
        + _insn(0xBF, 2, 10)
        + _insn(0x07, 2, immediate=-4)  # r2 = fp - 4
        + _map(1, arrival)
        + _insn(0x85, immediate=_MAP_LOOKUP)
        + _insn(0x15, 0, 0, 1, 0)  # if no slot (there always is) skip the store
        + _insn(0x62, 0, 0, 0, port)  # *(u32 *)slot = port
        + _insn(0xBF, 1, 6)
        + _jump(entry, row, XDP_DROP)
    )
