"""Contenders that take turns, and what their turns say.

    table = compare("What it is", {"ours": turn, "theirs": other_turn}, effort, against="theirs", unit="ns a packet")

A turn is a function that measures once and gives a number. Contenders take turns within one run, in an order that rotates, so
that what else the machine does meets all of them; all are bound to one CPU, unless told otherwise. A ratio is made within each
round, and its median taken: it says how many times better than `against` a contender is, whichever way the unit counts. One
turn each is thrown away first.
"""

from __future__ import annotations

import gc
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

from benchmarks.machine import pinned

Turn = Callable[[], float]
MORE_IS_BETTER = ("packets a second", "requests a second", "Gbit/s")


@dataclass(frozen=True)
class Effort:
    """How much of it. `rounds` per comparison, many and short, so that the machine changes little within one; `scale` of 1 is
    what a committed figure takes, less is a try."""

    rounds: int = 31
    scale: float = 1.0

    @property
    def quick(self) -> bool:
        return self.scale < 1

    def at_most(self, rounds: int) -> Effort:
        """For turns that take long."""
        return replace(self, rounds=min(self.rounds, rounds))

    def amount(self, full: int, least: int = 1) -> int:
        """`full` packets (or requests, cubes...) scaled down."""
        return max(least, int(full * self.scale))


QUICK = Effort(rounds=7, scale=0.25)


@dataclass(frozen=True)
class Row:
    """One contender: its turns, and in each round how many times better than the one compared against."""

    name: str
    turns: tuple[float, ...]
    ratios: tuple[float, ...] = ()

    @property
    def median(self) -> float:
        return statistics.median(self.turns)

    @property
    def ratio(self) -> float | None:
        return statistics.median(self.ratios) if self.ratios else None


@dataclass(frozen=True)
class Goal:
    """What a row's ratio (or, with `of` 'value', its median) has to be."""

    row: str
    at_least: float | None = None
    at_most: float | None = None
    of: str = "ratio"

    def value(self, row: Row) -> float | None:
        return row.ratio if self.of == "ratio" else row.median

    def met(self, row: Row) -> bool:
        value = self.value(row)
        if value is None:
            return False
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)

    def words(self) -> str:
        return f"{self.of} {f'>= {self.at_least:g}' if self.at_least is not None else f'<= {self.at_most:g}'}"


@dataclass(frozen=True)
class Table:
    """A comparison's outcome. `note`: what has to be known to read it."""

    title: str
    unit: str
    rows: tuple[Row, ...]
    against: str = ""
    note: str = ""
    goals: tuple[Goal, ...] = field(default=())

    def row(self, name: str) -> Row:
        return next(row for row in self.rows if row.name == name)

    def missed(self) -> list[str]:
        """Goals that were not reached, in words."""
        found = [(goal, self.row(goal.row)) for goal in self.goals]
        missed = [(goal, row) for goal, row in found if not goal.met(row)]
        return [f"{self.title}: {row.name}: {goal.words()}, is {goal.value(row) or 0:.2f}" for goal, row in missed]


def compare(title: str, contenders: Mapping[str, Turn], effort: Effort, *, against: str, unit: str, note: str = "",
            goals: Sequence[Goal] = (), bound: bool = True) -> Table:  # fmt: skip
    """Let all take turns, `effort.rounds` times, on one CPU if `bound`. `against` '': without ratios. stderr is
    told what came of it."""
    with pinned() if bound else nullcontext():
        for turn in contenders.values():
            turn()
        rounds = [_round(contenders, number) for number in range(effort.rounds)]
    better = unit in MORE_IS_BETTER
    rows = tuple(
        Row(
            name,
            tuple(took[name] for took in rounds),
            tuple(_times(took[name], took[against], better) for took in rounds if against),
        )
        for name in contenders
    )
    print(f"  {title}, {unit}: {', '.join(map(_said, rows))}", file=sys.stderr, flush=True)
    return Table(title, unit, rows, against, note, tuple(goals))


def _said(row: Row) -> str:
    """A row as it is told while other tables are still to come."""
    ratio = "" if row.ratio is None else f" ({row.ratio:.2f})"
    return f"{row.name} {row.median:.4g}{ratio}"


def _round(contenders: Mapping[str, Turn], number: int) -> dict[str, float]:
    """One turn of each; the garbage collector waits until it is over."""
    names = list(contenders)
    first = number % len(names)
    gc.collect()
    gc.disable()
    try:
        return {name: contenders[name]() for name in names[first:] + names[:first]}
    finally:
        gc.enable()


def _times(mine: float, theirs: float, more_is_better: bool) -> float:
    one, other = (mine, theirs) if more_is_better else (theirs, mine)
    return one / other if other else float("inf")
