"""Checks that a service's functions agree: a configuration must be read back from the rows that were derived from it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def difference(config: Any, read: Any, path: str = "") -> str:
    """Where `read` differs from `config`, as a sentence; '' if it does not. A service need not read back leaves that the
    model's own tables hold."""
    if isinstance(read, Mapping) and isinstance(config, Mapping):
        for name, value in read.items():
            if name not in config:
                if value not in ([], {}, None):
                    return f"{path}{name} comes back, and was not there"
            elif found := difference(config[name], value, f"{path}{name}/"):
                return found
        return ""
    if isinstance(read, list | tuple) and isinstance(config, list | tuple):
        if len(read) != len(config):
            return f"{path.rstrip('/')} has {len(read)} entries, and had {len(config)}"
        pairs = enumerate(zip(*_in_one_order(config, read), strict=True))
        return next((found for n, (one, two) in pairs if (found := difference(one, two, f"{path}{n}/"))), "")
    return "" if config == read else f"{path.rstrip('/')} is {read!r}, and was {config!r}"


def _in_one_order(config: Sequence[Any], read: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Rows have no order, so the entries that are built from them may be in another one."""
    names = read[0].keys() if read and isinstance(read[0], Mapping) else ()

    def key(entry: Any) -> str:
        seen = {name: entry.get(name) for name in names} if isinstance(entry, Mapping) else entry
        return json.dumps(seen, sort_keys=True)

    return sorted(config, key=key), sorted(read, key=key)
