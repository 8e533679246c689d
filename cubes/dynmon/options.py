"""What a dynamic monitor's configuration declares, with what is omitted filled in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

PATHS = ("ingress", "egress")

Config = Mapping[str, Any]


def _path(config: Config, direction: str) -> Config:
    found: Config = config.get("dataplane-config", {}).get(f"{direction}-path", {})
    return found


def code_of(config: Config, direction: str) -> str:
    """The user's C; '' if there is none."""
    return str(_path(config, direction).get("code", "")).replace("\r\n", "\n")


def metrics_of(config: Config, direction: str) -> Sequence[Config]:
    found: Sequence[Config] = _path(config, direction).get("metric-configs", ())
    return found


def is_swapped(metric: Config) -> bool:
    return bool(metric.get("extraction-options", {}).get("swap-on-read", False))


def is_emptied(metric: Config) -> bool:
    return bool(metric.get("extraction-options", {}).get("empty-on-read", False))


def swapped_tables(config: Config) -> tuple[str, ...]:
    """The tables that are there twice, in order."""
    return tuple(sorted({m["map-name"] for direction in PATHS for m in metrics_of(config, direction) if is_swapped(m)}))
