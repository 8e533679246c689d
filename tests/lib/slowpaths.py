"""Slow paths served by the process that runs the test, as a worker serves them: so that a test can look into a half."""
from __future__ import annotations

import logging
import os
from typing import Any

from reconciler.agent.discovery import Discovery, discover
from reconciler.kernel.bpffs import Bpffs
from reconciler.service.registry import Services
from reconciler.slowpath.counters import NAMES, Counters, new_block, plain
from reconciler.slowpath.dispatch import Dispatcher
from reconciler.slowpath.supervisor import lost

log = logging.getLogger("pcn.slowpath")


class SlowPaths:
    """All slow paths of one root: what the agent discovers and its workers do, without processes. `said` is what halves say."""

    def __init__(self, root: str, services: Services) -> None:
        self._root, self._services = root, services
        self._found: Discovery | None = None
        self._block = new_block()
        self._counters, self._slots = Counters(self._block), {}
        self.said: list[tuple[str, str, str, Any]] = []
        self._dispatcher = Dispatcher(Bpffs(root).open_pin, self._say)
        self.fileno, self.drain, self.tick = self._dispatcher.fileno, self._dispatcher.drain, self._dispatcher.tick

    def _say(self, kind: str, cube: str, name: str, value: Any) -> None:
        self.said.append((kind, cube, name, value))
        if kind == "mistake":
            log.error("cube %s: its slow path failed in %s\n%s", cube, name, value)

    def refresh(self) -> None:
        """Serve the cubes that are live now."""
        self._found = discover(self._root, self._services, self._found)
        cubes = []
        for cube in self._found.cubes:
            slot = self._slots.setdefault(cube.name, len(self._slots))
            cubes.append((cube, self._services.get(cube.service).slow_path, self._counters.slot(slot)))
        self._dispatcher.adopt(cubes)

    def counters(self) -> dict[str, Any]:
        cubes = {
            cube.name: plain(self._counters.slot(self._slots[cube.name])) | {"lost": lost(self._root, cube.name)}
            for cube in self._found.cubes
        }
        totals = {name: sum(each[name] for each in cubes.values()) for name in (*NAMES, "lost")}
        return {**totals, "waiting": self._dispatcher.waiting(), "cubes": cubes}

    def close(self) -> None:
        if self._block >= 0:
            self._dispatcher.close()
            os.close(self._block)
            self._block = -1


