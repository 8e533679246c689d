"""What slow paths say: log lines, kept for `pcn log`; values that they publish; and mistakes, for the agent's log."""
from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Mapping
from datetime import datetime
from typing import Any

KEPT = 1000  # lines that nobody has read; the oldest make room
PUBLISHED = 64  # names of values of one cube
_LEVELS = {"TRACE": 5, "DEBUG": 10, "INFO": 20, "WARN": 30, "ERR": 40, "CRITICAL": 50}
log = logging.getLogger("pcn.slowpath")


class SlowLog:
    """`published`: the last values, by cube and name."""

    def __init__(self) -> None:
        self._lines: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self.published: dict[str, dict[str, Any]] = {}

    def take(self, kind: str, said: Mapping[str, Any]) -> None:
        """As a worker reports it: see slowpath/handle.py, `Say`."""
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
        """The lines that nobody has read yet, as JSON; whoever asks has read them."""
        lines = list(self._lines)
        self._lines.clear()
        return json.dumps({"lines": lines}).encode()

    def forget(self, cubes: set[str]) -> None:
        """Keep nothing of cubes that no longer exist."""
        self.published = {cube: values for cube, values in self.published.items() if cube in cubes}
