"""Links consecutive cubes into one program: their compiled code in order, with glue in between.

    prologue   save the context
    cube 1     its code, unchanged but for its exits, which jump to the glue, and for relocations: the ingress port and the row
               of the next cube become immediates
    glue       a verdict of the kernel's: exit. The next cube's row: fall through. Another row: tail call
    prologue   restore the context
    cube 2     ...

A single cube is a chain of one, whose port is read from where its stub stored it. The encoding of rows as verdicts, and the
loads that are relocated, are defined in bpf/pcn.h.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.link import code
from reconciler.link.code import CTX, PORT, ROW

GO = 0x20000  # PCN_GO: plus a row of pcn_hops, the verdict for a tail call to the program there
NEXT = 0x2FFFF  # PCN_NEXT: the verdict for the next member
NO_ROW = -1
MOST_SLOTS = 0x7FFF  # of one member: the range of a jump's offset
_FP = 10
_NOT_READY = 2  # PCN_DROP_NOT_READY


@dataclass(frozen=True, slots=True)
class Exits:
    """How a cube exits by a row: `next` and `drops` are the descriptors of its pcn_next and pcn_drops. Tail calls to `rows` have
    constant indices, since a computed one is an indirect jump, at several times the cost."""

    next: int
    drops: int
    rows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Member:
    """A cube's code, descriptors filled in. `exits` None: it never exits by a row. `port` None: the port of ingress, read
    at run time. `row` refers to the next member."""

    code: bytes
    exits: Exits | None
    port: int | None = None
    row: int = NO_ROW


@dataclass(frozen=True, slots=True)
class Linked:
    """`starts`: the index of the first instruction of each member's code."""

    code: bytes
    starts: tuple[int, ...]


def link(members: Sequence[Member], flavour: str, arrival: int = -1, mark: int = -1) -> Linked:
    """One program of `members`, in order. `arrival` is the descriptor of the host's arrival slot, used by an XDP program
    that is not in a chain; `mark` that of a map that the program references, as its first.

    Raises ValueError for a member that is too long for its jumps.
    """
    shot = code.TC_ACT_SHOT if flavour == "TC" else code.XDP_DROP
    whole = code.hold(mark) + code.store64(_FP, CTX, 1)
    starts = []
    for number, member in enumerate(members):
        whole += code.load64(1, _FP, CTX) if number else b""
        whole += _arrival(flavour, arrival) if member.port is None else b""
        starts.append(code.slots(whole))
        filled = _filled(member)
        if member.exits is None:
            whole += filled
            continue
        glue = _glue(member.exits, member.row, shot)
        whole += _open_ended(_shortened(filled, code.slots(glue)) if member.row != NO_ROW else filled) + glue
    return Linked(whole, tuple(starts))


def _arrival(flavour: str, arrival: int) -> bytes:
    """Store the ingress port in the stack slot from which the cube loads it."""
    if flavour == "TC":
        return code.load32(2, 1, code.CB0) + code.store32(_FP, PORT, 2)
    refuse = code.set_register(0, code.XDP_DROP) + code.leave()
    return (
        code.look_up(arrival, 0, PORT)
        + code.insn(0x55, 0, offset=code.slots(refuse))  # if there is a slot (there always is) skip
        + refuse
        + code.load32(2, 0, 0)
        + code.store32(_FP, PORT, 2)
        + code.load64(1, _FP, CTX)
    )


def _filled(member: Member) -> bytes:
    """The code with loads of the port and row slots replaced by constants."""
    filled, values = bytearray(member.code), {PORT: member.port, ROW: member.row}
    for at in code.places(member.code, code.LOAD32):
        asked = code.asks_for(member.code[8 * at : 8 * at + 8])
        value = values.get(asked[1]) if asked else None
        if asked and value is not None:
            filled[8 * at : 8 * at + 8] = code.set_register32(asked[0], value)
    return bytes(filled)


def _shortened(body: bytes, glue: int) -> bytes:
    """The code with each jump to an exit that certainly returns NEXT redirected past the `glue` instructions after its end: this
    saves a third of the jumps of a small cube, and of the cache lines that a packet touches."""
    size, met = code.slots(body), code.targets(body)
    shortened = bytearray(body)
    for at in code.places(body, code.JUMP):
        known, target = code.set_to(body[8 * at - 8 : 8 * at]) if at else None, code.target(body, at)
        if known and known[1] == NEXT and at not in met and code.gives_back(body[8 * target :], known[0]):
            shortened[8 * at : 8 * at + 8] = code.jump(size + glue - at - 1)
    return bytes(shortened)


def _open_ended(body: bytes) -> bytes:
    """The code with each exit replaced by a jump to its end."""
    size = code.slots(body)
    if size > MOST_SLOTS:
        raise ValueError(f"a program of {size} instructions cannot be linked: {MOST_SLOTS} is the most")
    opened = bytearray(body)
    for at in code.places(body, code.EXIT):
        opened[8 * at : 8 * at + 8] = code.jump(size - at - 1)
    return bytes(opened)


def _glue(exits: Exits, row: int, shot: int) -> bytes:
    """Dispatches the verdict in r0. The code after the glue is the member of `row`, reached by NEXT."""
    failed = (
        code.look_up(exits.drops, _NOT_READY, PORT)
        + code.insn(0x15, 0, offset=3)  # if there is no counter (there always is) skip
        + code.load64(1, 0, 0)
        + code.add(1, 1)
        + code.store64(0, 0, 1)
        + code.set_register(0, shot)
        + code.leave()
    )
    calls = code.insn(0xBC, 3, 0) + code.insn(0x04, 3, immediate=-GO) + code.call(code.TAIL_CALL) + failed  # any row
    for known in reversed([known for known in exits.rows if known != row]):
        spelled = code.tail_call(known) + code.jump(code.slots(calls) - code.slots(failed))
        calls = code.jump_unless_equal32(0, GO + known, code.slots(spelled)) + spelled + calls
    calls = code.load64(1, _FP, CTX) + code.load_map(2, exits.next) + calls
    calls = code.jump_if_less32(0, GO, code.slots(calls) - 1) + calls  # a verdict: to the last instruction, which is the exit
    return (code.jump_if_equal32(0, NEXT, code.slots(calls)) if row != NO_ROW else b"") + calls
