"""How long a search can be next to what an edit left behind.

A cell that dies with an edit stays in the chain of its key until the next one, and packets that come by that key pass it. After
an edit that exchanges most of a large rule set, a search could need many times the look-ups of the rules themselves. So there
is each grid twice, and on the other one (tuple_space.other_grid) the keys are others and the chains new.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from cubes.firewall.tuple_selection import Sizes, most
from cubes.lib.epochs import MOST_LOOKUPS, seated_none

_MANY = MOST_LOOKUPS // 4  # look-ups: a LOG rule, or one beyond its limit, is followed by another search


def is_crowded(sizes: Sizes, cells: Iterable[bytes]) -> bool:
    """Whether what an edit left behind makes searches much longer than the rules do, or longer than they may be. `sizes` is
    what the rules need; `cells` are the keys of the cells there are then, of those at least whose number the edit changes."""
    longest = {number: max(counts) for number, counts in sizes.items()}
    for key, seats in Counter(map(seated_none, cells)).items():
        number = key[:8]
        if number in longest:
            longest[number] = max(seats, longest[number])
    found = sum(longest.values())
    return found > MOST_LOOKUPS or (found > _MANY and found > 1.5 * most(sizes))
