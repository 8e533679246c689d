"""The dynamic monitor's control plane: the user's C as the cube's programs, and its tables as metrics.

A table that is swapped when it is read exists twice: the user's program is compiled a second time with the table renamed, and
one row selects the program that packets enter (bpf/dynmon/dynmon_turn.c).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from cubes.dynmon.exposition import exposition
from cubes.dynmon.options import PATHS, code_of, is_emptied, is_swapped, metrics_of, swapped_tables
from cubes.dynmon.values import ARRAYS, READABLE, value_of
from cubes.lib.layout import index, number
from reconciler.service.sdk import ActionCall, ActionDone, Env, TableRows

__all__ = ["actions", "check", "sources", "state", "tables"]

Config = Mapping[str, Any]
Rows = Mapping[str, Mapping[bytes, bytes]]
_TURN, _ROW = "dynmon_turn", index(0)
_OTHER = "_other"


def sources(config: Config) -> dict[str, list[Any]]:
    """The user's programs by direction; one that has tables to swap is there twice, behind the program that chooses."""
    swapped = {name: name + _OTHER for name in swapped_tables(config)}
    found: dict[str, list[Any]] = {}
    for direction in PATHS:
        if code := code_of(config, direction):
            name = f"{direction}.c"
            found[direction] = ["dynmon_turn.c", (name, code), (name, code, swapped)] if swapped else [(name, code)]
    return found


def tables(config: Config, env: Env, tables: Mapping[str, Any]) -> dict[str, TableRows]:
    """No rows. Raises ValueError for a metric whose table is not there, or cannot be read."""
    for direction in PATHS:
        for metric in metrics_of(config, direction):
            layout = tables.get(metric["map-name"])
            what = f"{direction}-path: metric {metric['name']}: "
            if layout is None:
                raise ValueError(f"{what}the code has no table {metric['map-name']}")
            if layout.scope != "private":
                raise ValueError(f"{what}table {metric['map-name']} is shared; a metric is of a table of this cube's own")
            if layout.type not in READABLE:
                raise ValueError(f"{what}table {metric['map-name']} is no hash, array or LPM trie, and cannot be looked at")
    return {}


def state(rows: Rows, env: Env, tables: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics of what the tables hold now."""
    if not any(metrics_of(env.config, direction) for direction in PATHS):
        return {}
    current = _current(env.config, rows)
    found = {f"{direction}-metrics": metrics for direction, metrics in _by_direction(env.config, current, tables).items()}
    return {"metrics": found, "open-metrics": "".join(exposition(env.config, current, tables))}


def actions(call: ActionCall) -> ActionDone:
    """read-metrics: tables that are swapped are read once no program writes to them any more."""
    if not swapped_tables(call.config):
        return _emptied(call, call.env.live)
    turn = _turn(call.env.live)

    def then(later: ActionCall) -> ActionDone:
        return _emptied(later, _current(later.config, later.env.live, turn))

    return ActionDone({}, {_TURN: {_ROW: index(1 - turn)}}, then)


def _emptied(call: ActionCall, rows: Rows) -> ActionDone:
    """The metrics of these rows, and the rows to delete."""
    turned = 1 - _turn(call.env.live)
    gone: dict[str, dict[bytes, bytes | None]] = {}
    for metric in (metric for direction in PATHS for metric in metrics_of(call.config, direction)):
        name, layout = metric["map-name"], call.tables[metric["map-name"]]
        if is_swapped(metric) or is_emptied(metric):
            zero = bytes(layout.value.size) if layout.type in ARRAYS else None
            held = name + _OTHER if is_swapped(metric) and turned else name
            gone[held] = dict.fromkeys(rows.get(name, {}), zero)
    output = {f"{direction}-metrics": found for direction, found in _by_direction(call.config, rows, call.tables).items()}
    return ActionDone(output, gone)


def _turn(rows: Rows) -> int:
    return min(1, number(rows.get(_TURN, {}).get(_ROW, bytes(4))))


def _current(config: Config, rows: Rows, turn: int | None = None) -> Rows:
    """Rows by the tables' names in the user's C: of one that is swapped those of the program that has its turn."""
    turn = _turn(rows) if turn is None else turn
    swapped = swapped_tables(config)
    return {name: rows.get(name + _OTHER if turn and name in swapped else name, {}) for name in rows}


def _by_direction(config: Config, rows: Rows, tables: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    now = time.time_ns() // 1000
    found: dict[str, list[dict[str, Any]]] = {}
    for direction in PATHS:
        for metric in metrics_of(config, direction):
            layout = tables.get(metric["map-name"])
            if layout is not None:
                said = json.dumps(value_of(layout, rows.get(metric["map-name"], {})), separators=(",", ":"))
                found.setdefault(direction, []).append({"name": metric["name"], "value": said, "timestamp": now})
    return found


def check(config: Config, env: Env) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
    for direction in PATHS:
        for at, metric in enumerate(metrics_of(config, direction)):
            path = ("dataplane-config", f"{direction}-path", "metric-configs", at, "map-name")
            if not code_of(config, direction):
                yield path, f"there is no code in {direction}-path that could have this table", "error"
            elif metric["name"].startswith(("pcn_", "process_")):
                yield (*path[:-1], "name"), "metrics whose names begin with pcn_ or process_ are the agent's own", "error"
            elif _is_reserved(metric["map-name"]):
                yield path, "tables whose names begin with dynmon_ or pcn_ are not the user's", "error"
            elif _differs(metric, (m for other in PATHS for m in metrics_of(config, other))):
                yield path, f"another metric of table {metric['map-name']} has another swap-on-read", "error"


def _is_reserved(name: str) -> bool:
    return name.startswith(("dynmon_", "pcn_"))


def _differs(metric: Config, others: Iterable[Config]) -> bool:
    return any(o["map-name"] == metric["map-name"] and is_swapped(o) != is_swapped(metric) for o in others)
