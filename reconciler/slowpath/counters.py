"""Counters of each cube's slow path, in memory that outlives the worker.

The supervisor creates the block and assigns each cube a slot; a worker writes its slots and its successor continues them. So a
counter never decreases, and the packets that a killed worker did not finish are the difference of two counters.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator

NAMES = ("received", "handled", "raised", "stale", "injected", "refused", "held", "abandoned")
RECEIVED, HANDLED, RAISED, STALE, INJECTED, REFUSED, HELD, ABANDONED = range(len(NAMES))
SLOTS = 1 << 16  # 4 MiB of addresses; memory is used for the pages of slots in use only
_WORD = 8  # bytes

Counts = memoryview
"""One cube's counters, by the constants above. Each packet that was RECEIVED was HANDLED, RAISED an exception, was STALE, or its
worker died while handling it; ticks may raise too. HELD: the packet that is being handled, and those that the half keeps for
later. ABANDONED: packets HELD by workers that died."""


class Counters:
    """The slots of one worker. `fd` is mapped, and remains the caller's to close."""

    def __init__(self, fd: int) -> None:
        self._memory = mmap.mmap(fd, SLOTS * len(NAMES) * _WORD)
        self._words = memoryview(self._memory).cast("Q")

    def slot(self, number: int) -> Counts:
        return self._words[number * len(NAMES) : (number + 1) * len(NAMES)]


def new_block() -> int:
    """The descriptor of a block of zeros, to be inherited by workers."""
    fd = os.memfd_create("pcn-slowpath-counters", os.MFD_CLOEXEC)
    os.ftruncate(fd, SLOTS * len(NAMES) * _WORD)
    return fd


def plain(counts: Counts) -> dict[str, int]:
    return dict(zip(NAMES, counts, strict=True))


def abandon(counts: Counts) -> int:
    """The worker died: move HELD to ABANDONED; returns the number of packets lost."""
    lost: int = counts[HELD]
    counts[ABANDONED], counts[HELD] = counts[ABANDONED] + lost, 0
    return lost


def free_slots(taken: Iterator[int]) -> Iterator[int]:
    """Numbers of slots that are not taken, lowest first."""
    used = set(taken)
    return (number for number in range(SLOTS) if number not in used)
