"""Drift for the page and `/events`: polled, and cached while the kernel is unchanged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from reconciler.engine.apply import ApplyResult, Options, drift_session
from reconciler.engine.unchanged import UnchangedCheck
from reconciler.present.drift_report import drift_document
from reconciler.present.rows import Decoder


@dataclass(slots=True)
class CachedDrift:
    """Holds the last snapshot. For one thread only."""

    options: Options
    _said: dict[str, Any] = field(default_factory=dict)
    _unchanged: UnchangedCheck | None = None

    def __call__(self) -> dict[str, Any]:
        """Drift as in `pcn drift -o json`. Raises PcnError."""
        if self._unchanged is not None and self._unchanged.is_unchanged():
            return self._said
        session = drift_session(self.options)
        self._said = drift_document(session.drift, Decoder(session, self.options.services), session.plan.resets)
        self._unchanged = UnchangedCheck(self.options, ApplyResult(session))
        return self._said
