"""The policy-based forwarder's control plane: its rules as rows of its tables, and back.

`rules` holds what is written; what packets meet (`cells`, `pages`, `versions`, `epoch`) is derived from it and from the rows
that are there, so that a change costs what it changes (cubes/lib/epochs.py).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Any

from cubes.lib.epochs import BANK_PAGES, INDEX, epoch_of, page_rows, put_in_force
from cubes.pbforwarder.check import problems
from cubes.pbforwarder.rules import KEY_SIZE, ROW, from_row, rules_of
from cubes.pbforwarder.slowpath import SlowPath
from cubes.pbforwarder.tuples import conditions, select, tuple_rows
from reconciler.service.sdk import Env, TableRows

__all__ = ["SCRATCH", "SlowPath", "check", "config", "tables"]

SCRATCH = frozenset({"packets"})

Config = Mapping[str, Any]
Live = Mapping[str, Mapping[bytes, bytes]]
_VERSION = struct.Struct("=II")  # struct version
_IDENTITY = struct.Struct("=Q")
_STAGED = ("cells", "pages", "versions", "rules")
_ARRAYS = ("epoch", "versions", "pages")


def tables(config: Config, env: Env, tables: Mapping[str, Any]) -> dict[str, TableRows]:
    """Rows by table. Raises ValueError if the rules cannot be laid out (tuples.select)."""
    assert tables["rules"].value.size == ROW.size, f"rules: {tables['rules'].value.size} bytes in C, {ROW.size} in Python"
    assert tables["cells"].key.size == KEY_SIZE
    rules = rules_of(config.get("rules", ()), env.ports)
    chosen = select(tuple(rules), _layout_in_force(env.live))
    tuples = tuple_rows(chosen)
    found = put_in_force(
        {"cells": {key: [conditions(rule) for rule in some] for key, some in chosen.cells.items()}},
        {"pages": lambda bank: page_rows(tuples, bank * BANK_PAGES)},
        _VERSION.pack(len(tuples), chosen.grid),
        env.live,
    )
    rows: dict[str, Mapping[bytes, bytes]] = {**found.rows, "rules": {_IDENTITY.pack(rule.identity): rule.row for rule in rules}}
    return {name: _table(name, some, tables[name].value.size) for name, some in rows.items()}


def _layout_in_force(live: Live) -> int | None:
    epoch = epoch_of(live)
    row = live.get("versions", {}).get(INDEX.pack(epoch & 1)) if epoch else None
    return int(_VERSION.unpack(row)[1]) if row else None


def _table(name: str, rows: Mapping[bytes, bytes], size: int) -> TableRows:
    return TableRows(rows, b"\xff" * size, name in _ARRAYS, name in _STAGED)


def config(rows: Live, env: Env, tables: Mapping[str, Any]) -> dict[str, Any]:
    """The rules as the tables hold them."""
    found = [from_row(row, env.port_name) for row in rows.get("rules", {}).values()]
    return {"rules": sorted(found, key=lambda rule: rule["id"])}


def check(config: Config, env: Env) -> Iterable[tuple[tuple[str | int, ...], str, str]]:
    return problems(config)
