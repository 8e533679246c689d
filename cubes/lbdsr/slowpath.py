"""Health-check targets of a load balancer: each at an address of its own, since all have the virtual one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cubes.lbdsr.rows import checked, health_key
from cubes.lib import health
from cubes.lib.health import Target
from cubes.lib.health_worker import HealthWorker

Config = Mapping[str, Any]


class SlowPath(HealthWorker):
    @staticmethod
    def targets(config: Config) -> Iterator[Target]:
        for pool, vip, said, entry in checked(config):
            address = entry.get("check-ip") or entry["ip"]
            yield health.target(said, health_key(pool, entry), f"backend {entry['id']} of {vip}", address, 0)


def verdicts(config: Config, rows: health.Rows, now: int) -> Iterator[dict[str, Any]]:
    """The health of backends, as entries of the model's list `health`."""
    for pool, vip, _, entry in checked(config):
        row = rows.get(health_key(pool, entry))
        if row is not None:
            yield {"vip": vip, "id": entry["id"], **health.shown(health.of_row(row), now)}
