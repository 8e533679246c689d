"""Backoff of failed applies: the delay grows for the same desired set, and is reset for another."""
from __future__ import annotations

from dataclasses import dataclass, field

FIRST, LAST, LAST_HEAL = 0.1, 60.0, 5.0  # seconds


@dataclass(slots=True)
class Failure:
    """`words`: the error; `tries`: attempts that failed with it."""

    words: str
    tries: int
    not_before: float


@dataclass(slots=True)
class Retries:
    """Keyed by the digest of a desired set. Times are those of `time.monotonic`."""

    _failures: dict[str, Failure] = field(default_factory=dict)

    @property
    def problem(self) -> str:
        """The error of a set that is not in force; '' if nothing failed."""
        return next((failure.words for failure in self._failures.values()), "")

    def failed(self, digest: str, words: str, now: float, *, heal: bool) -> tuple[int, float]:
        """Returns the number of the try, and the seconds until the next. Healing is retried more often: the cause is not in a
        file."""
        before = self._failures.get(digest)
        tries = before.tries + 1 if before and before.words == words else 1
        delay = min(LAST_HEAL if heal else LAST, FIRST * 2.0 ** min(tries - 1, 20))
        self._failures[digest] = Failure(words, tries, now + delay)
        return tries, delay

    def passed(self, digest: str) -> None:
        self._failures.pop(digest, None)

    def only(self, digest: str) -> None:
        """Forget the failures of all other sets: they are obsolete."""
        self._failures = {each: failure for each, failure in self._failures.items() if each == digest}

    def reset(self) -> None:
        """Retry everything now."""
        for failure in self._failures.values():
            failure.not_before = 0.0

    def is_backing_off(self, digest: str, now: float) -> bool:
        failure = self._failures.get(digest)
        return failure is not None and now < failure.not_before

    def seconds_to_next(self, now: float) -> float:
        """0 if nothing failed."""
        due = [failure.not_before for failure in self._failures.values()]
        return max(0.01, min(due) - now) if due else 0.0
