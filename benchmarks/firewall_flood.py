"""A firewall under a flood of SYNs.

One host sends SYNs with random sources to an open port of the stack behind the firewall, as fast as a process can, for 60
seconds. Meanwhile it has a hundred connections there from before, one of which is used all the time, and makes a new one 20 times
a second. The table of unsettled connections has room for 32,768, and is made at that size.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.compare import Effort, Goal, Row, Table
from tests.services.firewall.flood import IDLE, Outcome, flooded
from tests.services.firewall.lab import HOOKS, FirewallLab


def run(effort: Effort) -> list[Table]:
    found = {}
    for hook in HOOKS:
        with FirewallLab(hook=hook) as lab:
            found[hook] = flooded(lab, 60 * effort.scale)
    return [
        _table("The flood", "SYNs a second", found, lambda each: each.syns / each.seconds),
        _new(found),
        _table("New connections that took more than a second", "of a hundred", found, _refused),
        _table("A question on an established connection, at the longest", "ms", found, lambda each: 1e3 * each.longest),
        _table("Old connections that were lost", "of a hundred", found, lambda each: IDLE - each.kept, at_most=0),
        _table("Connections known in the end", "entries", found, lambda each: each.sessions),
    ]


def _new(found: dict[str, Outcome]) -> Table:
    rows = (Row(hook, tuple(1e3 * took for took in each.new_seconds)) for hook, each in found.items())
    return Table("A new connection", "ms", tuple(rows))


def _refused(outcome: Outcome) -> float:
    return 100 * outcome.refused / max(1, outcome.refused + len(outcome.new_seconds))


Outcomes = dict[str, Outcome]


def _table(title: str, unit: str, found: Outcomes, of: Callable[[Outcome], float], at_most: float | None = None) -> Table:
    goals = tuple(Goal(hook, at_most=at_most, of="value") for hook in found if at_most is not None)
    return Table(title, unit, tuple(Row(hook, (of(each),)) for hook, each in found.items()), goals=goals)
