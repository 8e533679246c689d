"""When a worker that died is restarted: at once, unless it dies too often."""

from __future__ import annotations

from dataclasses import dataclass

BURST, FIRST, LAST = 10, 0.1, 60.0


@dataclass(slots=True)
class Restarts:
    """A token bucket: a worker that has served is restarted at once while there are tokens, BURST at most, one more each second.
    One that fails before it serves (its half cannot be imported) is restarted with exponential backoff, FIRST to LAST seconds.
    Times are those of `time.monotonic`."""

    _credit: float = BURST
    _seen: float = 0.0
    _failures: int = 0

    def delay(self, now: float, *, served: bool) -> float:
        """Seconds to wait before the restart of a worker that ended now."""
        self._credit = min(BURST, self._credit + (now - self._seen if self._seen else 0.0)) - 1
        self._seen = now
        if not served:
            self._failures += 1
            return float(min(LAST, FIRST * 2.0 ** min(self._failures - 1, 20)))
        self._failures = 0
        return max(0.0, -self._credit)
