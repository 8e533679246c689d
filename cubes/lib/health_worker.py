"""The slow path of a load balancer with health checks: probes backends, and publishes which are to be left out.

It receives no packets and never blocks: open probes are polled with each tick. The state is in the table `health`, from which
the next worker continues; the fact outlives both.
"""

from __future__ import annotations

import heapq
import itertools
import struct
from collections.abc import Iterable, Mapping
from typing import Any

from cubes.lib import health
from cubes.lib.health import Target, Verdict
from reconciler.service.sdk import CubeHandle


class HealthWorker:
    """One cube. A service defines the `targets`."""

    packets = False

    def __init__(self, cube: CubeHandle) -> None:
        self.cube = cube
        self._config: Mapping[str, Any] | None = None
        self._targets: dict[bytes, Target] = {}
        self._verdicts: dict[bytes, Verdict] = {}
        self._asking: dict[bytes, Target] = {}
        self._due: list[tuple[float, int, Target]] = []
        self._count = itertools.count()  # where two are due at once
        self._above = False  # more are down than can be left out
        self._stale = False  # the table does not say what is so

    @staticmethod
    def targets(config: Mapping[str, Any]) -> Iterable[Target]:
        raise NotImplementedError

    @classmethod
    def serves(cls, config: Mapping[str, Any]) -> bool:
        return any(True for _ in cls.targets(config))

    def changed(self) -> None:
        """The configuration may differ: remaining targets keep their schedule."""
        self._stale = True

    def tick(self, now: float) -> None:
        if self._config is None or self._stale:
            self._stale = False
            self._follow(now)
        verdicts = dict(self._verdicts)
        for answer in self.cube.answers():
            to = self._asking.pop(answer.question.of)
            if self._targets.get(to.key) == to and answer.error != "OURS":
                error, status = (answer.error, 0) if answer.error else health.judged_line(to, answer.line)
                self._verdicts[to.key] = health.judged(self._verdicts[to.key], to, error, status, now)
        while self._due and self._due[0][0] <= now and self._ask(now):
            pass
        if verdicts != self._verdicts:
            self._say(verdicts)

    def _ask(self, now: float) -> bool:
        """The one that is due; False: it has to wait."""
        due, number, to = self._due[0]
        if self._targets.get(to.key) != to:
            heapq.heappop(self._due)
            return True
        of, again = struct.pack("=Q", number), due + to.interval if due + to.interval > now else now + to.interval
        try:
            if not self.cube.ask(of, to.address, to.port, to.timeout, to.http):
                return False
            self._asking[of] = to
        except OSError as error:
            self.cube.log("WARN", f"cannot ask {to.name}: {error.strerror}")
            again = now + to.interval
        heapq.heapreplace(self._due, (again, next(self._count), to))
        return True

    def _follow(self, now: float) -> None:
        """The targets from now on. New ones are assumed to be up, unless a previous worker recorded otherwise; their probes
        are spread over the interval."""
        if self._config is self.cube.config or self._config == self.cube.config:
            return
        wanted = {to.key: to for to in self.targets(self.cube.config)}
        table = self.cube.table("health")
        known = dict(table.items())
        for key in known.keys() - wanted.keys():
            table.delete(key)
        came = [to for key, to in wanted.items() if self._targets.get(key) != to]
        self._due = [each for each in self._due if self._targets.get(each[2].key) == each[2] == wanted.get(each[2].key)]
        heapq.heapify(self._due)  # who went is due no more: it would be asked twice as often, were it to come back before
        for place, to in enumerate(came):
            first = now + to.interval * place / len(came)
            heapq.heappush(self._due, (first, next(self._count), to))
        fresh = {key: health.of_row(row) for key, row in known.items()}
        self._verdicts = {key: self._verdicts.get(key) or fresh.get(key) or Verdict(since=int(now)) for key in wanted}
        self._targets, self._config = wanted, self.cube.config
        for key, verdict in self._verdicts.items():
            if known.get(key) != health.row_of(verdict):
                table.set(key, health.row_of(verdict))
        self._publish()

    def _say(self, before: Mapping[bytes, Verdict]) -> None:
        """Publish the result: to the table first, from which the next worker would publish it."""
        table, is_news = self.cube.table("health"), False
        for key, verdict in self._verdicts.items():
            was = before[key]
            if health.row_of(was) != health.row_of(verdict):
                table.set(key, health.row_of(verdict))
            if was.healthy != verdict.healthy:
                is_news, name = True, self._targets[key].name
                said = "is there again" if verdict.healthy else f"is left out: {_reason(verdict)}"
                self.cube.log("INFO" if verdict.healthy else "WARN", f"{name} {said}")
        if is_news:
            self._publish()

    def _publish(self) -> None:
        down = sum(not verdict.healthy for verdict in self._verdicts.values())
        if (down > health.MOST_DOWN) != self._above:
            self._above = down > health.MOST_DOWN
            if self._above:
                self.cube.log("ERR", f"{down} backends fail, and at most {health.MOST_DOWN} can be left out: the others stay")
        self.cube.publish_fact(health.FACT, health.fact_of(self._verdicts))


def _reason(verdict: Verdict) -> str:
    return f"{verdict.error} {verdict.status}" if verdict.status else verdict.error
