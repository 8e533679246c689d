"""The value of a node in a cube's tree, and resolution of paths that omit some keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reconciler.api import cubes
from reconciler.api.answers import NOTHING, Refusal, missing
from reconciler.api.request import Request
from reconciler.api.store import Store
from reconciler.engine.edit_values import vetted_leaf
from reconciler.errors import EditRefused
from reconciler.service.model.walk import ENTRY, LEAVES, LIST, Place, path_of


def value_at(data: Any, places: Sequence[Place], where: str) -> Any:
    """The value of a node in a cube's tree. Raises Refusal (404)."""
    for place in places[1:]:
        if place.kind == ENTRY:
            leaves = place.schema["properties"]
            key = {name: _key(leaves[name], word, where) for name, word in zip(place.keys, place.words, strict=True)}
            found = next((entry for entry in data if all(entry.get(name) == value for name, value in key.items())), NOTHING)
        else:
            found = data.get(place.name, _empty(place))
        if found is NOTHING:
            raise missing(f'"{place.name}" is not there', where)
        data = found
    return data


def _empty(place: Place) -> Any:
    """The value of an absent node."""
    if place.kind in (LIST, LEAVES):
        return []
    return {} if place.has_members else "" if place.name == "peer" else NOTHING


def _key(schema: Mapping[str, Any], word: str, where: str) -> Any:
    try:
        return vetted_leaf(schema, word, where)
    except EditRefused:
        return NOTHING


def with_all_keys(
    request: Request, store: Store, name: str, places: Sequence[Place], words: Sequence[str]
) -> tuple[str, ...]:
    """Complete an entry's path whose last keys are omitted, as some of Polycube's lists have fewer keys: from the body for a new
    entry, else the only matching entry's. Raises Refusal."""
    place = places[-1]
    absent = place.keys[len(place.words) :]
    if request.method not in ("POST", "PUT"):
        seen = store.look()
        if name not in seen.cubes:
            raise missing(f'there is no cube "{name}"', f"/{name}")
        return (*words, *keys_of_the_one(cubes.whole(store, seen, name), places, f"/{name}/{path_of(words)}", 409))
    body = request.object()
    for key in absent:
        if not isinstance(body.get(key), str | int) or isinstance(body[key], bool):
            message = f'"{key}" is a key of "{place.name}": say it'
            raise Refusal(400, "missing-attribute", message, f"/{name}/{path_of(words)}", key)
    return (*words, *(str(body[key]) for key in absent))


def keys_of_the_one(data: Any, places: Sequence[Place], where: str, absent_is: int = 404) -> tuple[str, ...]:
    """The missing keys of the only entry that matches the present ones. Raises Refusal."""
    place = places[-1]
    said = dict(zip(place.keys, place.words, strict=False))
    entries = value_at(data, places[:-1], where)
    found = [entry for entry in entries if all(str(entry.get(key)).casefold() == word.casefold() for key, word in said.items())]
    if not found:
        raise Refusal(absent_is, "data-missing", f'"{place.name}" is not there', where)
    if len(found) > 1:
        absent = place.keys[len(said) :]
        raise Refusal(400, "missing-attribute", f"{len(found)} entries are meant: say {' and '.join(absent)}", where, absent[0])
    return tuple(str(found[0][key]) for key in place.keys[len(said) :])
