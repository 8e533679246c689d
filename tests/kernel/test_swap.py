"""A cube is exchanged while one CPU does nothing but send: not a packet is lost."""
from __future__ import annotations

import time

import pytest

from benchmarks.bed import Bed
from benchmarks.chain import HOOKS, cubes
from benchmarks.swap import Load, dropped, exchanges, overflows


@pytest.mark.parametrize("length", [1, 8], ids=["alone", "in a chain of 8"])
@pytest.mark.parametrize("kind", ["XDP", "TC"])
def test_no_packet_is_lost_while_a_cube_is_exchanged_under_full_load(kind: str, length: int) -> None:
    books = exchanges(kind, length, 25)
    assert books.sent > 100_000, "that was no load"
    assert (books.lost, books.dropped) == (0, 0), f"{books}"


def test_the_books_tell_what_a_cube_drops_from_what_arrives() -> None:
    with Bed(["h1", "h2"]) as bed:
        said = cubes(1, HOOKS["TC"], fuse=True)
        bed.apply({"cubes": said})
        with bed.flow("h1", "h2", bed.udp("h1", "h2"), into="TC") as flow:
            over = overflows(bed)
            with Load(flow) as load:
                said[0]["actions"] = [{"inport": "a", "action": "DROP"}]
                bed.apply({"cubes": said})
            assert dropped(bed, 1) > 0
            deadline = time.monotonic() + 2  # the last packets may still be under way
            while load.sent - flow.arrived() != dropped(bed, 1) + overflows(bed) - over:
                assert time.monotonic() < deadline, (load.sent, flow.arrived(), dropped(bed, 1), overflows(bed) - over)
                time.sleep(0.01)
