"""The difference of two documents of a node as a few edits, so that one endpoint does not resubmit 5,000 services.

    changes(old, new)    # [{"path": ["pods", "service", "10.96.0.1", "80", "TCP"], "operation": "replace", "value": {...}}]

Equal entries are mostly identical objects (services.py keeps them), which makes the comparison cheap.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reconciler.incremental.persistent_list import unchanged

KEYS = {"service": ("vip", "vport", "proto"), "set": ("name",)}  # long lists, and the keys of their entries
MOST = 64  # edits; with more, the whole document is submitted
Edit = dict[str, Any]


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Edit] | None:
    """The edits that turn `old` into `new`, up to the order of unordered entries; None: a whole document is needed."""
    before, after = old["spec"], new["spec"]
    cubes = [cube["name"] for cube in before["cubes"]]
    rest = [{name: value for name, value in spec.items() if name != "cubes"} for spec in (before, after)]
    if rest[0] != rest[1] or cubes != [cube["name"] for cube in after["cubes"]]:
        return None
    found: list[Edit] = []
    for was, now in zip(before["cubes"], after["cubes"], strict=True):
        for name in was.keys() | now.keys():
            mine, theirs = was.get(name), now.get(name)
            if mine is theirs or (name not in KEYS and mine == theirs):
                continue
            if name not in KEYS:
                return None
            found += _entries([now["name"], name], KEYS[name], mine or (), theirs or ())
            if len(found) > MOST:
                return None
    return found


def _entries(path: list[str], keys: Sequence[str], old: Sequence[Any], new: Sequence[Any]) -> Iterator[Edit]:
    start, rest = unchanged(old, new)
    old, new = old[start : len(old) - rest], new[start : len(new) - rest]
    same = set(map(id, old)).intersection(map(id, new))
    gone = {_key(each, keys): each for each in old if id(each) not in same}
    more = {_key(each, keys): each for each in new if id(each) not in same}
    for key in gone.keys() - more.keys():
        yield {"path": [*path, *key], "operation": "delete"}
    for key, entry in more.items():
        if gone.get(key) != entry:
            yield {"path": [*path, *key], "operation": "replace" if key in gone else "create", "value": entry}


def _key(entry: Mapping[str, Any], keys: Sequence[str]) -> tuple[str, ...]:
    return tuple(str(entry[key]) for key in keys)
