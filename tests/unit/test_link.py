"""The linker, bytes in and bytes out: what runs after what is found by following the jumps."""
from __future__ import annotations

import struct

import pytest

from reconciler.link import code
from reconciler.link.chain import GO, NEXT, NO_ROW, Exits, Linked, Member, link
from reconciler.link.code import CTX, PORT, ROW

EXITS = Exits(next=70, drops=80, rows=(0, 1, 2))
CUBE = code.set_register(0, 7) + code.leave()
TAIL, LOOKUP = ("call", code.TAIL_CALL), ("call", code.MAP_LOOKUP)


def run(linked: Linked, verdicts: dict[int, int]) -> list[object]:
    """Follow a program in which only r0's 32-bit comparisons decide; `verdicts` by member are what the cubes return. Tail calls
    fail. Gives what happened: what was put on the stack, cubes run, calls, and the exit."""
    happened: list[object] = []
    at, r0, r3, r2 = 0, 0, 0, 0
    for _ in range(1000):
        if at in linked.starts:
            happened.append(("cube", linked.starts.index(at)))
            r0, at = verdicts[linked.starts.index(at)], at + 1  # its first instruction sets r0
        op, registers, offset, value = struct.unpack_from("<BBhi", linked.code, 8 * at)
        at += 1
        if op == code.LD_MAP:
            r2, at = value if registers & 15 == 2 else r2, at + 1
        elif op == 0x62:
            happened.append(({CTX: "ctx", PORT: "scratch"}[offset], value))
        elif op == 0xB7:
            r3, r0 = (value if registers & 15 == 3 else r3), (value if registers & 15 == 0 else r0)
        elif op == 0xBC:
            r3 = r0
        elif op == 0x04:
            r3 += value
        elif op == 0x85:
            happened.append((*TAIL, r2, r3) if value == code.TAIL_CALL else LOOKUP)
            r0 = 0
        elif op == 0x05 or (op == 0x15 and r0 == value) or (op == 0x16 and r0 == value) or (op == 0x56 and r0 != value) or (
                op == 0xC6 and r0 < value) or (op == 0x55 and r0 != value):
            at += offset
        elif op == code.EXIT:
            return [*happened, ("exit", r0)]
    raise AssertionError("it does not end")


def chain(*rows: int) -> Linked:
    return link([Member(CUBE, EXITS, port, row) for port, row in enumerate(rows)], "TC")


def test_a_verdict_of_the_kernel_s_leaves_the_program():
    for verdict in (-1, 0, 2, 7, GO - 1):
        assert run(chain(NO_ROW), {0: verdict}) == [("cube", 0), ("exit", verdict)]


def test_a_cube_that_says_next_is_followed_by_the_next():
    assert run(chain(1, 0, NO_ROW), {0: NEXT, 1: NEXT, 2: 7}) == [("cube", 0), ("cube", 1), ("cube", 2), ("exit", 7)]


SAYS_NEXT = code.set_register(6, NEXT) + code.jump(1) + code.set_register(6, 7) + code.copy(0, 6) + code.leave()
JUMPED_TO = code.jump_if_equal32(1, 0, 1) + SAYS_NEXT  # to the jump, with whatever is in r6
OTHER_WAY = code.set_register(6, NEXT) + code.jump(0) + code.add(6, 1) + code.copy(0, 6) + code.leave()
OTHER_VALUE = SAYS_NEXT.replace(code.set_register(6, NEXT), code.set_register(6, 7))
OTHER_REGISTER = SAYS_NEXT.replace(code.set_register(6, NEXT), code.set_register(5, NEXT))
SAYS_SO = code.set_register(0, NEXT) + code.jump(1) + code.set_register(0, 7) + code.leave()


def where_it_jumps(cube: bytes, row: int) -> tuple[int, int, int]:
    """Where a first cube's last jump to be written leads, where its code ends, and where the second one's prologue begins."""
    linked = link([Member(cube, EXITS, 0, row), Member(CUBE, EXITS, 0)], "TC")
    at = linked.starts[0] + max(code.places(cube, code.JUMP))
    return code.target(linked.code, at), linked.starts[0] + code.slots(cube), linked.starts[1] - 1


@pytest.mark.parametrize("cube", [SAYS_NEXT, SAYS_SO])
def test_what_surely_goes_on_jumps_straight_to_the_next_cube(cube):
    target, _, following = where_it_jumps(cube, 1)
    assert target == following


@pytest.mark.parametrize("cube", [JUMPED_TO, OTHER_WAY, OTHER_VALUE, OTHER_REGISTER])
def test_what_may_be_another_verdict_goes_by_the_glue(cube):
    target, end, _ = where_it_jumps(cube, 1)
    assert target < end


def test_where_nothing_follows_no_jump_is_led_elsewhere():
    target, end, _ = where_it_jumps(SAYS_NEXT, NO_ROW)
    assert target < end


@pytest.mark.parametrize("port", [0, 127])
def test_what_a_cube_asks_of_the_linker_is_filled_in(port):
    asks = code.load32(9, 10, PORT) + code.load32(2, 10, ROW) + code.load32(3, 10, -8) + code.load32(3, 1, PORT)
    linked = link([Member(asks + CUBE, EXITS, port, 5), Member(CUBE, EXITS, 0)], "TC")
    filled = linked.code[8 * linked.starts[0] :][: len(asks)]
    assert filled == code.set_register32(9, port) + code.set_register32(2, 5) + asks[16:]


def test_the_port_of_a_cube_that_stands_alone_is_not_known():
    asks = code.load32(9, 10, PORT) + code.load32(2, 10, ROW)
    linked = link([Member(asks + CUBE, EXITS)], "TC")
    assert linked.code[8 * linked.starts[0] :][: len(asks)] == code.load32(9, 10, PORT) + code.set_register32(2, NO_ROW)


@pytest.mark.parametrize("row", [0, 2, 3, 255])
def test_another_row_is_a_tail_call_and_a_counted_drop_if_nothing_is_there(row):
    happened = run(chain(1, NO_ROW), {0: GO + row})
    assert happened[1:] == [(*TAIL, 70, row), ("scratch", 2), LOOKUP, ("exit", code.TC_ACT_SHOT)]


def test_the_last_cube_has_no_linked_row():
    assert run(chain(1, NO_ROW), {0: NEXT, 1: GO + 1})[2:] == [(*TAIL, 70, 1), ("scratch", 2), LOOKUP, ("exit", code.TC_ACT_SHOT)]


def test_every_exit_of_a_cube_is_open_and_an_immediate_that_looks_like_one_is_not():
    wide = struct.pack("<BBhiBBhi", code.LD_MAP, 1, 0, 0x95, 0, 0, 0, 0x95)
    body = code.set_register(0, 1) + code.leave() + wide + code.leave()
    linked = link([Member(body, EXITS, 0, 1), Member(CUBE, EXITS, 0)], "TC")
    start = 8 * linked.starts[0]
    assert linked.code[start:][:len(body)] == code.set_register(0, 1) + code.jump(3) + wide + code.jump(0)


def test_a_cube_that_never_leaves_by_a_row_is_taken_as_it_is():
    linked = link([Member(CUBE, None, 0)], "XDP")
    assert linked.code.endswith(CUBE)


def test_a_cube_alone_reads_where_its_stub_left_the_port():
    tc = link([Member(CUBE, EXITS)], "TC")
    assert code.load32(2, 1, code.CB0) + code.store32(10, PORT, 2) in tc.code[:8 * tc.starts[0]]
    xdp = link([Member(CUBE, EXITS)], "XDP", arrival=5)
    assert code.load_map(1, 5) in xdp.code[:8 * xdp.starts[0]]


def test_the_mark_is_the_first_map_that_is_named():
    linked = link([Member(CUBE, EXITS, 0)], "TC", mark=9)
    assert linked.code.startswith(code.load_map(0, 9))


def test_a_cube_too_long_to_jump_out_of_is_refused():
    with pytest.raises(ValueError, match="32767"):
        link([Member(code.set_register(0, 1) * 40000 + code.leave(), EXITS)], "TC")
