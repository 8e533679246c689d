"""Order labels with gaps, into which entries can be inserted; and ids as runs of equal steps.

A rule keeps its label while its relative position is the same, so an insertion in the middle of 100,000 rules assigns one
label. Rules that keep their labels are the longest increasing subsequence of the old labels in the new order.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, pairwise
from operator import lt, sub

from reconciler.service.sdk import unchanged

STEP = 1 << 32
FIRST = 1 << 62


def labels(order: Sequence[int], known: Mapping[int, int]) -> dict[int, int]:
    """A label for each of `order`, rising, each the one in `known` where possible; all are between 0 and 2**63 - 1, which is
    NO_LABEL as the classifier compares it."""
    kept = _rising([known.get(item, 0) for item in order])
    if not kept:
        return {item: FIRST + place * STEP for place, item in enumerate(order)}
    while True:
        found = _filled(order, kept)
        if found is not None:
            return found
        kept = _thinned(kept, len(order))


def _rising(values: Sequence[int]) -> list[tuple[int, int]]:
    """(place, label) of the longest rising part; 0 represents none."""
    if all(low < high for low, high in pairwise(values)) and values and values[0]:
        return list(enumerate(values))
    tails: list[int] = []
    places: list[int] = []
    before: list[int] = [-1] * len(values)
    for place, value in enumerate(values):
        if not value:
            continue
        at = bisect_left(tails, value)
        before[place] = places[at - 1] if at else -1
        tails[at : at + 1] = [value]
        places[at : at + 1] = [place]
    found, place = [], places[-1] if places else -1
    while place >= 0:
        found.append((place, values[place]))
        place = before[place]
    return found[::-1]


def _filled(order: Sequence[int], kept: Sequence[tuple[int, int]]) -> dict[int, int] | None:
    """All labels, new ones spread evenly between those that are kept; None if somewhere there is no room."""
    found = [0] * len(order)
    first, last = kept[0], kept[-1]
    for place in range(first[0]):
        found[place] = first[1] - (first[0] - place) * STEP
    for place in range(last[0] + 1, len(order)):
        found[place] = last[1] + (place - last[0]) * STEP
    if found and (found[0] < 0 or found[-1] >= (1 << 63) - 1):
        return None
    for (low, label), (high, limit) in pairwise(kept):
        if high - low > 1 and limit - label < high - low:
            return None
        for place in range(low + 1, high):
            found[place] = label + (limit - label) * (place - low) // (high - low)
    for place, label in kept:
        found[place] = label
    return dict(zip(order, found, strict=True))


def _thinned(kept: Sequence[tuple[int, int]], count: int) -> list[tuple[int, int]]:
    """`kept` without the neighbours of a place where there is no room: the fewest, by doubling, that make some."""
    tight = {
        index
        for index, ((low, label), (high, limit)) in enumerate(pairwise(kept))
        if limit - label < 2 * (high - low)
    }
    doomed: set[int] = set()
    for index in tight:
        reach = 1
        while True:
            low, high = max(0, index - reach), min(len(kept) - 1, index + 1 + reach)
            doomed |= set(range(low + 1, high))
            room = kept[high][1] - kept[low][1]
            if room > 4 * (kept[high][0] - kept[low][0]) * reach or (low == 0 and high == len(kept) - 1):
                break
            reach *= 2
    left = [pair for index, pair in enumerate(kept) if index not in doomed]
    return left if left and len(left) < len(kept) else [(0, FIRST)]


def runs(ids: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Rising numbers as {first: (step, count)}: what one change does to them is a few of these."""
    found: dict[int, tuple[int, int]] = {}
    at = end = 0
    for step, group in groupby(map(sub, ids[1:], ids)):
        end += len(list(group))  # ids from `at` to `end` are apart by so much
        if end - at >= 2:  # two that happen to be are no run
            found[ids[at]] = (step, end + 1 - at)
            at = end + 1
        elif end > at:
            found[ids[at]] = (0, 1)
            at = end
    found |= dict.fromkeys(ids[at:], (0, 1))
    return found


def from_runs(found: Mapping[int, tuple[int, int]]) -> Iterator[int]:
    """The inverse of `runs`."""
    for first in sorted(found):
        step, count = found[first]
        yield from (first + step * number for number in range(count))


def is_rising(values: Iterable[int]) -> bool:
    some = list(values)
    return all(map(lt, some, some[1:]))


class Rising:
    """Whether numbers rise. Of a list that was spliced, only what is new is examined."""

    def __init__(self) -> None:
        self._last: Sequence[int] = ()

    def holds(self, values: Sequence[int]) -> bool:
        start, rest = unchanged(self._last, values)
        rises = is_rising(values[max(0, start - 1) : len(values) - rest + 1])
        self._last = values if rises else ()
        return rises
