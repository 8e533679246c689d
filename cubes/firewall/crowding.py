"""How much longer searches take while deleted cells are still in the chains.

A cell that an edit deletes stays in the chain of its key until the next edit, and searches with that key traverse it. After an
edit that replaces most of a large rule set, a search could need many times the look-ups of the rules alone. So each grid
exists twice, and the second one (tuple_space.other_grid) has other keys and therefore empty chains.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from cubes.firewall.tuple_selection import Sizes, most
from cubes.lib.epochs import MOST_LOOKUPS, seated_none

_MANY = MOST_LOOKUPS // 4  # look-ups: a LOG rule, or one beyond its limit, is followed by another search


def is_crowded(sizes: Sizes, cells: Iterable[bytes]) -> bool:
    """Whether deleted cells make searches much longer than the rules alone, or longer than the limit. `sizes` are the rules'
    own; `cells` are the keys of all cells after the edit, at least where the edit changes their number."""
    longest = {number: max(counts) for number, counts in sizes.items()}
    for key, seats in Counter(map(seated_none, cells)).items():
        number = key[:8]
        if number in longest:
            longest[number] = max(seats, longest[number])
    found = sum(longest.values())
    return found > MOST_LOOKUPS or (found > _MANY and found > 1.5 * most(sizes))
