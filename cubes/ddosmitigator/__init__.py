"""What ddosmitigator derives from its lists: the bits in front of them. The lists themselves are rows by the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cubes.ddosmitigator.filter import BYTES, count_of, hashes, rows_of
from reconciler.service.sdk import Env, TableRows

__all__ = ["constants", "sizes", "tables"]

LISTS = ("blacklist-src", "blacklist-dst")  # each hashes in its own way, by its place here
FILTER = "blacklist_filter"

Config = Mapping[str, Any]


def _rows(config: Config) -> int:
    return count_of(sum(len(config.get(name) or ()) for name in LISTS))


def constants(config: Config) -> dict[str, int]:
    return {"FILTER_SHIFT": 65 - _rows(config).bit_length()}


def sizes(config: Config) -> dict[str, int]:
    return {FILTER: _rows(config)}


def tables(config: Config, env: Env, tables: Mapping[str, Any]) -> dict[str, TableRows]:
    listed = [hashes(config.get(name) or (), number, env) for number, name in enumerate(LISTS)]
    return {FILTER: TableRows(rows_of(listed, _rows(config)), b"\xff" * BYTES, sparse=True, bits=True)}
