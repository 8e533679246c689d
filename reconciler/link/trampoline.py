"""The program by which packets enter a cube at a port (a *stub*): assembled, always the same few instructions.

A stub stores the ingress port and jumps to the cube's entry. Both are immediates in its instructions, so there is no
lookup, and the kernel patches the tail call to a direct jump. Since neighbours and netdevs refer to stubs, and only
stubs to the entry, a cube is swapped by one write. `mark` is the descriptor of a map that the program references, as its first.
"""

from __future__ import annotations

from reconciler.link import code


def tc(port: int, entry: int, row: int, mark: int = -1) -> bytes:
    """cb[0] = port; jump. `entry` is the descriptor of the cube's entry array."""
    return code.hold(mark) + code.set_register(2, port) + code.store32(1, code.CB0, 2) + _enter(entry, row, code.TC_ACT_SHOT)


def xdp(port: int, entry: int, row: int, arrival: int, mark: int = -1) -> bytes:
    """*arrival[0] = port; jump. `arrival` is the descriptor of the host's per-CPU arrival slot."""
    store = code.put32(0, 0, port)
    return (
        code.hold(mark)
        + code.copy(6, 1)  # r6 = ctx
        + code.look_up(arrival, 0, -8)
        + code.insn(0x15, 0, offset=code.slots(store))  # without a slot (there always is one) skip the store
        + store
        + code.copy(1, 6)
        + _enter(entry, row, code.XDP_DROP)
    )


def _enter(entry: int, row: int, otherwise: int) -> bytes:
    """Tail call into `entry`, or `otherwise` if nothing is there."""
    return code.load_map(2, entry) + code.tail_call(row) + code.set_register(0, otherwise) + code.leave()
