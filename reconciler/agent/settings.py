"""An agent's settings."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from reconciler.agent.controller import HEAL
from reconciler.engine.apply import Options
from reconciler.sources.feed import Care
from reconciler.sources.source import Source
from reconciler.sources.spool import Spool

INTERVAL = 0.5  # seconds between polls, so that drift is healed within one


@dataclass(frozen=True, slots=True)
class Settings:
    """`paths`: files and directories; `metrics`: address, '' for none; `mode` as in `controller`."""

    paths: Sequence[str]
    options: Options
    mode: str = HEAL
    prune: bool = False
    metrics: str = ""
    accepts_state_reset: bool = False
    interval: float = INTERVAL
    feeds: Sequence[tuple[Source, Spool]] = ()
    care: Care = field(default_factory=Care)
