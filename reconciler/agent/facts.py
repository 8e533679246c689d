"""Facts that workers publish: stored in the kernel below the cube, where every planner reads them.

The agent caches the last values while the cube is served, and writes them again where they are missing: a recreated cube has
none.
"""
from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from reconciler import facts, pins
from reconciler.kernel.bpffs import Bpffs
from reconciler.live.facts import keep
from reconciler.service.registry import Services
from reconciler.slowpath.handle import ServedCube

log = logging.getLogger("pcn.slowpath")


class PublishedFacts:
    """`said`: cube and name to the value as JSON."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._cubes: dict[str, str] = {}  # services by cube
        self.said: dict[tuple[str, str], str] = {}

    def serve(self, cubes: Iterable[ServedCube]) -> None:
        """Forget cubes that are no longer served."""
        self._cubes = {cube.name: cube.service for cube in cubes}
        self.said = {key: text for key, text in self.said.items() if key[0] in self._cubes}

    def take(self, said: Mapping[str, Any]) -> bool:
        """Take a worker's report; returns whether it has to be stored."""
        cube, name = str(said["cube"]), str(said["name"])
        service = self._services.get(self._cubes.get(cube, ""))
        if service is None:  # published just before the cube was deleted
            return False
        if name not in service.facts:
            log.error("cube %s publishes the fact %s, which is not among the FACTS of service %s", cube, name, service.name)
            return False
        try:
            self.said[cube, name] = facts.publishable(name, said["value"])
        except ValueError as error:
            log.error("cube %s: %s", cube, error)
            return False
        return True

    def keep(self, root: str, timeout: float) -> None:
        """Store the values that the kernel lacks. Raises LockBusy."""
        pins_ = Bpffs(root)
        missing = {key: text for key, text in dict(self.said).items() if pins_.read_link(pins.fact(*key)) != text}
        if any(pins_.exists(pins.cube(cube)) for cube, _ in missing):
            with pins_.locked(timeout):
                for (cube, name), text in missing.items():
                    keep(pins_, cube, name, text)
