"""bpf/lib/ratelimit.h, with the time that the kernel gives."""
from __future__ import annotations

import struct
import time

import pytest

from tests.lib.bare_program import DROPPED, FLAVOURS, running

FRAME = bytes(64)
SECOND = 1_000_000_000


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_so_many_are_given_in_a_second_and_no_more_until_it_is_over(flavour):
    """A fresh row has all of them: of 10 packets in a second 3, and in the next again."""
    before = '#include "lib/ratelimit.h"\nBPF_TABLE("array", u32, struct ratelimit, limits, 1);\n'
    body = """
      u32 zero = 0;
      struct ratelimit *limit = limits.lookup(&zero);
      return limit && ratelimit_take(limit, 3) ? RX_DROP : RX_OK;"""
    with running(before, body, flavour) as run:
        for _ in range(2):
            begun = time.monotonic()
            given = [run(FRAME)[0] == DROPPED[flavour] for _ in range(10)]
            if time.monotonic() - begun < 1:  # a machine that stood still meanwhile tells nothing
                assert given == [True] * 3 + [False] * 7
            time.sleep(1.01)


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize(
    ("spent", "now", "cost", "burst", "left"),
    [
        (0, 5 * SECOND, 10, 30, 5 * SECOND + 10),  # it has rested: all of the burst is there, and no more than that
        (5 * SECOND - 1, 5 * SECOND, 10, 30, 5 * SECOND + 10),
        (5 * SECOND + 20, 5 * SECOND, 10, 30, 5 * SECOND + 30),  # the last of it
        (5 * SECOND + 21, 5 * SECOND, 10, 30, None),  # one nanosecond short: nothing is spent
        (5 * SECOND + 30, 5 * SECOND, 1, 30, None),
        (5 * SECOND + 30, 5 * SECOND + 1, 1, 30, 5 * SECOND + 31),  # with the time it flows in
        (0, 5 * SECOND, 31, 30, None),  # dearer than the burst: never
    ],
)
def test_a_bucket_gives_what_has_flown_in_and_at_most_its_burst(flavour, spent, now, cost, burst, left):
    body = """
      struct { u64 spent, now, cost, burst; } say;
      if (pcn_load_bytes(ctx, 14, &say, sizeof(say)) < 0)
        return RX_OK;
      bool given = tokens_take(&say.spent, say.now, say.cost, say.burst);
      pcn_store_bytes(ctx, 14, &say.spent, 8);
      return given ? RX_DROP : RX_OK;"""
    with running('#include "lib/ratelimit.h"', body, flavour) as run:
        verdict, frame = run(bytes(14) + struct.pack("=4Q", spent, now, cost, burst) + bytes(18))
    assert (verdict == DROPPED[flavour]) == (left is not None)
    assert struct.unpack_from("=Q", frame, 14)[0] == (spent if left is None else left)
