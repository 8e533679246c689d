"""Questions and answers as JSON: what the pure functions of a service take and give."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from reconciler.rpc.contract import RpcError, from_rows, to_bytes, to_rows
from reconciler.service.implementation import ActionCall, ActionDone
from reconciler.service.model.codec import Env
from reconciler.service.model.rows import TableRows

_ARRAYS = (2, 6)  # enum bpf_map_type: rows of zeros are as good as none


def plain(value: Any) -> Any:
    """As JSON has it: lists and mappings of any class become plain ones."""
    return json.loads(json.dumps(value, default=lambda node: dict(node) if isinstance(node, Mapping) else list(node)))


def layouts(tables: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Of these tables: type, rows, and of key and value size and fields, each [name, offset, size]."""
    return {
        name: {"type": table.type, "max_entries": table.max_entries, "key": _struct(table.key), "value": _struct(table.value)}
        for name in sorted(names)
        if (table := tables.get(name)) is not None
    }


def _struct(layout: Any) -> dict[str, Any]:
    return {"size": layout.size, "fields": [[each.name, each.offset, each.size] for each in layout.fields or ()]}


def env(said: Env, *, facts: bool = False, live: Iterable[str] = (), now: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = {"cube": said.cube, "ports": dict(said.ports)}
    if facts:
        found["facts"] = plain(said.facts)
    if now:
        found["now"] = said.now
    if live:
        found["live"] = rows({name: said.live[name] for name in live if name in said.live})
    return found


def rows(found: Mapping[str, Mapping[bytes, bytes]]) -> dict[str, Any]:
    return {name: sorted(from_rows(table)) for name, table in sorted(found.items())}


def without_zeros(found: Mapping[str, Mapping[bytes, bytes]], tables: Mapping[str, Any]) -> dict[str, dict[bytes, bytes]]:
    return {
        name: {key: value for key, value in table.items() if any(value)} if tables[name].type in _ARRAYS else dict(table)
        for name, table in found.items()
        if name in tables
    }


def table_rows(name: str, said: Any, layout: Any) -> TableRows:
    """Raises ValueError for rows that do not fit the table."""
    try:
        found = to_rows(said["rows"])
        mask = to_bytes(said["mask"]) if "mask" in said else b"\xff" * layout.value.size
    except (RpcError, TypeError, KeyError, ValueError):
        raise ValueError(f"its rows of {name} cannot be read") from None
    key, value = layout.key.size, layout.value.size
    if len(mask) != value or any(len(k) != key or len(v) != value for k, v in found.items()):
        raise ValueError(f"its rows of {name} do not fit a key of {key} and a value of {value} bytes")
    if len(found) > layout.max_entries:
        raise ValueError(f"it has {len(found)} rows for {name}, which holds {layout.max_entries}")
    staged, bits = bool(said.get("staged", False)), bool(said.get("bits", False))
    return TableRows(found, mask, bool(said.get("sparse", layout.type in _ARRAYS)), staged, bits=bits)


def action_call(call: ActionCall, names: Iterable[str]) -> dict[str, Any]:
    return {
        "name": call.name, "input": plain(call.input), "config": plain(call.config), "state": plain(call.state),
        "env": env(call.env, facts=True, live=call.env.live, now=True), "tables": layouts(call.tables, names),
    }  # fmt: skip


def action_done(said: Any) -> ActionDone:
    """Raises ValueError."""
    try:
        found = {name: {to_bytes(key): None if value is None else to_bytes(value) for key, value in pairs}
                 for name, pairs in said.get("rows", {}).items()}  # fmt: skip
        return ActionDone(dict(said.get("output", {})), found)
    except (RpcError, TypeError, AttributeError, ValueError):
        raise ValueError("the outcome of an action cannot be read") from None
