"""Reports of slow paths: log lines, buffered for `pcn log`; published values; and errors, for the agent's log."""
from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Mapping
from datetime import datetime
from typing import Any

KEPT = 1000  # unread lines; the oldest are dropped
PUBLISHED = 64  # named values of one cube
_LEVELS = {"TRACE": 5, "DEBUG": 10, "INFO": 20, "WARN": 30, "ERR": 40, "CRITICAL": 50}
log = logging.getLogger("pcn.slowpath")


class SlowLog:
    """`published`: the last values, by cube and name."""

    def __init__(self) -> None:
        self._lines: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self.published: dict[str, dict[str, Any]] = {}

    def take(self, kind: str, said: Mapping[str, Any]) -> None:
        """Take a worker's report (slowpath/handle.py, `Say`)."""
        cube, name, value = str(said["cube"]), str(said["name"]), said["value"]
        if kind == "mistake":
            log.error("cube %s: its slow path failed in %s\n%s", cube, name, value)
        elif kind == "notification":
            known = self.published.setdefault(cube, {})
            if name in known or len(known) < PUBLISHED:
                known[name] = value
        else:
            logging.getLogger(f"pcn.cube.{cube}").log(_LEVELS.get(name, logging.INFO), "%s: %s", cube, value)
            when = datetime.fromtimestamp(said["time"]).astimezone().isoformat(timespec="microseconds")
            self._lines.append({"time": when, "cube": cube, "level": name, "port": "", "text": str(value)})

    def drain(self, _: bytes = b"") -> bytes:
        """Returns the unread lines as JSON, and removes them."""
        lines = list(self._lines)
        self._lines.clear()
        return json.dumps({"lines": lines}).encode()

    def forget(self, cubes: set[str]) -> None:
        """Forget cubes that no longer exist."""
        self.published = {cube: values for cube, values in self.published.items() if cube in cubes}
