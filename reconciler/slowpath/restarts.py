"""When a worker that died is started again: at once, unless it dies too often."""

from __future__ import annotations

from dataclasses import dataclass

BURST, FIRST, LAST = 10, 0.1, 60.0


@dataclass(slots=True)
class Restarts:
    """A worker that has served may be restarted at once BURST times, and once more for each second that passes. One that fails
    before it serves (its half cannot be imported) is restarted with backoff. Times are those of `time.monotonic`."""

    _credit: float = BURST
    _seen: float = 0.0
    _failures: int = 0

    def delay(self, now: float, *, served: bool) -> float:
        """A worker has ended; the seconds until the next one is to be started."""
        self._credit = min(BURST, self._credit + (now - self._seen if self._seen else 0.0)) - 1
        self._seen = now
        if not served:
            self._failures += 1
            return float(min(LAST, FIRST * 2.0 ** min(self._failures - 1, 20)))
        self._failures = 0
        return max(0.0, -self._credit)
