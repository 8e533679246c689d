"""Counters of an agent since its start."""
from __future__ import annotations

from dataclasses import dataclass, field

from reconciler.engine.apply import ApplyResult
from reconciler.plan.steps import LINK_CHANGES, MAP_WRITES, PROGRAM_LOADS

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # seconds, upper bounds


@dataclass(slots=True)
class AgentCounters:
    """Counters since the start, for `pcn agent status` and the metrics."""

    polls: int = 0
    results: dict[str, int] = field(default_factory=lambda: {"applied": 0, "healed": 0, "failed": 0})
    drift_healed: int = 0
    program_loads: int = 0
    map_writes: int = 0
    link_changes: int = 0
    seconds: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))

    def count(self, result: str, duration: float, done: ApplyResult | None = None) -> None:
        """Count one reconcile that had steps, or failed."""
        self.results[result] += 1
        self.seconds += duration
        self.buckets[sum(duration > bound for bound in BUCKETS)] += 1
        if done is not None:
            self.program_loads += done.plan.total(PROGRAM_LOADS)
            self.map_writes += done.plan.total(MAP_WRITES)
            self.link_changes += done.plan.total(LINK_CHANGES)
