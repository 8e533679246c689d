"""Notifications to systemd: readiness, status line, watchdog."""
from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from reconciler.agent.jobs import Jobs
from reconciler.agent.loop import Loop
from reconciler.agent.notify import Notifier
from reconciler.agent.status import summary

log = logging.getLogger("pcn.agent")


class Report:
    def __init__(self, loop: Loop, jobs: Jobs, notifier: Notifier) -> None:
        self._loop, self._jobs, self.notifier = loop, jobs, notifier
        self._ready = False

    def begin(self) -> None:
        if self.notifier.period:
            self._sign_of_life()

    def tell(self, status: Callable[[], Mapping[str, Any]], *, is_concluded: bool) -> None:
        """Send the status to systemd. The agent is ready once its files were applied or refused: units ordered after it rely on
        that. Until then it waits for other writers and trials."""
        if self._ready and not self.notifier.listened_to:
            return
        said = summary(status())
        self.notifier.status(said)
        if not is_concluded:
            self.notifier.not_yet()
        elif not self._ready:
            self._ready = True
            self.notifier.ready()
            log.info("ready: %s", said)

    def _sign_of_life(self) -> None:
        """Withheld if the job thread hangs."""
        self._loop.after("alive", self.notifier.period, self._sign_of_life)
        if not self._jobs.hangs:
            self.notifier.alive()
