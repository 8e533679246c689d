"""What workers are made of, each alone: when they restart, and what is counted of those that died."""
from __future__ import annotations

import os

from reconciler.slowpath.counters import ABANDONED, HANDLED, HELD, RECEIVED, Counters, abandon, free_slots, new_block, plain
from reconciler.slowpath.restarts import BURST, Restarts


def test_a_worker_that_served_restarts_at_once_and_one_that_keeps_dying_once_a_second():
    restarts = Restarts()
    assert [restarts.delay(100.0, served=True) for _ in range(BURST)] == [0] * BURST
    assert [round(restarts.delay(100.0 + n, served=True), 3) for n in range(3)] == [1, 1, 1]
    assert restarts.delay(200.0, served=True) == 0


def test_a_worker_that_never_comes_to_serve_is_tried_later_and_later():
    restarts = Restarts()
    delays = [restarts.delay(100.0 + n, served=False) for n in range(30)]
    assert delays[:4] == [0.1, 0.2, 0.4, 0.8]
    assert delays == sorted(delays)
    assert delays[-1] == 60
    assert restarts.delay(1000.0, served=True) == 0
    assert restarts.delay(1001.0, served=False) == 0.1


def test_what_a_dead_worker_had_not_answered_is_counted_once_and_its_successor_goes_on_counting():
    block = new_block()
    counts = Counters(block).slot(3)
    counts[RECEIVED], counts[HANDLED], counts[HELD] = 10, 9, 5
    assert abandon(counts) == 5
    assert abandon(counts) == 0
    next_one = Counters(block).slot(3)
    next_one[RECEIVED] += 1
    assert (plain(counts)["received"], counts[ABANDONED], counts[HELD]) == (11, 5, 0)
    assert plain(Counters(block).slot(2)) == dict.fromkeys(plain(counts), 0)
    os.close(block)


def test_slots_that_are_free_again_are_given_again():
    free = free_slots(iter([0, 2]))
    assert [next(free), next(free), next(free)] == [1, 3, 4]
