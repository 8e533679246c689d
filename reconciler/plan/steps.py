"""Steps: one kernel operation each, as plain data, with what takes it back.

A step is complete before anything runs: it can be printed, stored, counted, and undone. `execute` performs operations;
it decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reconciler.plan.operations import Operation

PROGRAM_LOADS, MAP_WRITES, LINK_CHANGES = "program_loads", "map_writes", "link_changes"


class Disruption(IntEnum):
    """What a step does to traffic, connections and learned state, from harmless to worst."""

    NONE = 0
    CONNECTIONS_CUT = 1
    STATE_RESET = 2
    PACKETS_LOST = 3

    def __str__(self) -> str:
        return self.name.lower().replace("_", " ")


class Rank(IntEnum):
    """The order of a plan. Stage: nothing refers to it yet. Commit: atomic pointer changes, targets before what points at
    them. Retire: what nothing points at any more. Within a rank, the order of planning holds."""

    FORMAT = -1  # said before anything of it is there
    RENAME_ASIDE = 0  # a cube that is replaced moves out of the way, and goes on working there
    DIRECTORY = 1
    TABLE = 2
    POPULATE = 3
    PROGRAM = 4
    NEW_ENTRY = 5
    STUB = 6
    NAMESPACE = 7  # the network only now: what the verifier refuses is refused before a link is touched
    LINK_AWAY = 8  # a netdev that must be made anew
    LINK = 9
    LINK_SETTINGS = 10
    NEW_HOP = 11
    NEW_CUBE = 12
    CATCH_UP = 19  # rows that were learned while all this was made
    HOP = 20
    MEMBER = 21
    ROWS = 22          # rows may lead to ports: after the hops of new ones, before those of old ones go
    PUBLISH = 23
    ATTACH = 24
    ROWS_OF_NEW = 25   # rows may lead to programs: after a cube has more of them, and, where it has fewer, before
    CAUGHT_UP = 26     # rows that were learned while programs were exchanged
    DETACH = 27
    REMOVE_NEXT_HOP = 28
    NAMES = 29
    DOCUMENT = 30
    HOOK_NAMES = 31    # pins of hooks, once those that were in their place are elsewhere
    CLEAR = 32         # bits that stand for rows which are gone
    GRACE = 40         # until no packet can be inside what nothing refers to any more
    LAST_ROWS = 41     # rows that were learned by the last packets inside what goes
    RETIRE = 42
    RETIRE_LINK = 43
    RETIRE_NAMESPACE = 44

    @property
    def phase(self) -> str:
        return "stage" if self < Rank.HOP else "commit" if self < Rank.GRACE else "retire"


@dataclass(frozen=True, slots=True)
class Step:
    """`undo` is done in order; a retiring step has none. `counts`: which of the plan's totals it adds `count` to.
    `reaches` are the cubes that a disruption is felt by, `cuts` the connections that are cut, as text."""

    rank: Rank
    address: str
    action: str
    reason: str
    operation: Operation
    undo: tuple[Operation, ...] = ()
    before: Any = None
    after: Any = None
    disruption: Disruption = Disruption.NONE
    counts: str = ""
    count: int = 0
    reaches: tuple[str, ...] = ()
    cuts: str = ""


@dataclass(frozen=True, slots=True)
class Lockout:
    """What may cut off the administrator of this host: the netdev, which addresses of the host are concerned, and a sentence."""

    netdev: str
    addresses: tuple[str, ...]
    sentence: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Ordered steps. Empty: the kernel holds what is wanted."""

    steps: tuple[Step, ...] = ()
    pending: tuple[tuple[str, str, str], ...] = ()
    notes: tuple[str, ...] = ()
    lockouts: tuple[Lockout, ...] = ()

    def total(self, what: str) -> int:
        return sum(step.count for step in self.steps if step.counts == what)

    @property
    def disruption(self) -> Disruption:
        return max((step.disruption for step in self.steps), default=Disruption.NONE)

    @property
    def resets(self) -> tuple[str, ...]:
        """Addresses of the tables that are recreated although what was learned in them is lost, in cubes that stay."""
        resetting = [step for step in self.steps if step.disruption == Disruption.STATE_RESET]
        if not resetting:
            return ()
        from reconciler.plan.operations import CreateMap

        return tuple(step.address for step in resetting if isinstance(step.operation, CreateMap))


def ordered(steps: Iterable[Step]) -> tuple[Step, ...]:
    return tuple(sorted(steps, key=lambda step: step.rank))


def cubes_of(steps: Iterable[Step]) -> set[str]:
    """The homes (cubes/<cube>) of all cubes that one of these steps names, or may write to."""
    found = set()
    for step in steps:
        for value in step.operation.texts():
            if value.startswith("cubes/"):
                end = value.find("/", len("cubes/"))
                found.add(value if end < 0 else value[:end])
    return found
