"""Health-check targets of a load balancer's services."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cubes.lib import health
from cubes.lib.balancer import health_key
from cubes.lib.health import Target
from cubes.lib.health_worker import HealthWorker

Config = Mapping[str, Any]


class SlowPath(HealthWorker):
    @staticmethod
    def targets(config: Config) -> Iterator[Target]:
        for service, backend in _checked(config):
            name = f"{backend['ip']} {backend['port']} of {service['vip']} {service['vport']} {service['proto']}"
            key = health_key(service, backend)
            yield health.target(service["health-check"], key, name, backend["ip"], backend["port"])


def _checked(config: Config) -> Iterator[tuple[Config, Config]]:
    for service in config.get("service", ()):
        for backend in service.get("backend", ()) if "health-check" in service else ():
            yield service, backend


def verdicts(config: Config, rows: health.Rows, now: int) -> Iterator[dict[str, Any]]:
    """The health of backends, as entries of the model's list `health`."""
    for service, backend in _checked(config):
        row = rows.get(health_key(service, backend))
        if row is not None:
            of = {leaf: service[leaf] for leaf in ("vip", "vport", "proto")} | {leaf: backend[leaf] for leaf in ("ip", "port")}
            yield of | health.shown(health.of_row(row), now)
