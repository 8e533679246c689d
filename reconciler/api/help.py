"""Help and completion for Polycube's client: OPTIONS with ?help=NONE|ADD|SHOW|SET|DEL, and &completion for TAB."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reconciler.api import cubes
from reconciler.api.answers import Answer, Refusal, missing
from reconciler.api.nodes import places_of
from reconciler.api.ownership import FIXED
from reconciler.api.request import Request
from reconciler.api.store import Store
from reconciler.api.values import value_at
from reconciler.api.verbs import verbs
from reconciler.service.model.walk import ACTION, CONTAINER, CUBE, ENTRY, KEYS, LEAF, LEAVES, LIST, Place, members

KINDS = ("NONE", "ADD", "SHOW", "SET", "DEL")
_WORDS = ("add", "del", "show")
_SIMPLE = {"string": "string", "boolean": "boolean", "integer": "integer", "number": "decimal"}


def help_at(request: Request, store: Store) -> Answer:
    kind = request.query.get("help", "NONE").upper()
    if kind not in KINDS:
        raise _none(kind)
    completes = "completion" in request.query
    if not request.words:
        return _at_root(kind, store, completes)
    first, *rest = request.words
    if first in FIXED:
        return _at_fixed(first, store, completes)
    service = store.options.services.get(first)
    seen = store.look()
    if service is not None and not rest:
        names = [name for name, record in seen.cubes.items() if record.service == first]
        entries = [cubes.brief(store, seen, name) for name in names]
        return _of_list(kind, Place(LIST, first, {"items": service.schema}, (), ("name",)), entries, completes)
    name, words = (rest[0], rest[1:]) if service is not None else (first, rest)
    known = service or (store.options.services.get(seen.cubes[name].service) if name in seen.cubes else None)
    if known is None:
        raise missing(f'there is no cube or service "{name}"')
    places = places_of(known, words, request)
    data = cubes.whole(store, seen, name) if name in seen.cubes else {}
    return _at_place(kind, places, data, completes)


def _at_place(kind: str, places: Sequence[Place], data: Any, completes: bool) -> Answer:
    place = places[-1]
    if place.kind in (LIST, KEYS):
        entries = _entries(data, places)
        if place.kind == KEYS:
            return Answer(200, _next_keys(place, entries) if completes else _help(params=_keys(place.schema, place.keys)))
        return _of_list(kind, place, entries, completes)
    if place.kind == ACTION:
        inputs = _inputs(place, places[-2])
        if kind != "NONE" and not completes:
            raise _none(kind)
        return Answer(200, [f"{name}=" for name in inputs] if completes else _help(params=_keys_of(inputs)))
    if place.kind in (LEAF, LEAVES):
        if not completes:
            raise _none(kind)
        return Answer(200, [str(word) for word in place.schema.get("enum", ())])
    return _of_object(kind, place, completes)


def _none(kind: str) -> Refusal:
    return Refusal(400, "invalid-value", f"there is no help of kind {kind} here", info="help")


def _at_root(kind: str, store: Store, completes: bool) -> Answer:
    names = store.options.services.names()
    if completes:
        return Answer(200, [*FIXED, *names, *store.look().cubes])
    if kind != "NONE":
        raise _none(kind)
    params = {}
    for name in names:
        service = store.options.services.get(name)
        meta: Mapping[str, Any] = service.meta if service is not None else {}
        said = {"description": str(meta.get("description", "")), "version": str(meta.get("version", ""))}
        params[name] = {"name": name, "type": "key", "simpletype": "service", **said}
    return Answer(200, _help(params=params))


def _at_fixed(word: str, store: Store, completes: bool) -> Answer:
    if word in ("connect", "disconnect") and completes:
        return Answer(200, [f"{cube}:{port.name}" for cube, ports in store.look().ports.items() for port in ports])
    if word in ("cubes", "netdevs", "topology", "services", "metrics", "version"):
        commands = ["add", "del", "show"] if word == "services" else ["add", "show"] if word == "cubes" else ["show"]
        return Answer(200, commands if completes else _help(commands))
    return Answer(200, [] if completes else _help())


# -- lists ---------------------------------------------------------------------------------------------------------------------


def _of_list(kind: str, place: Place, entries: Sequence[Mapping[str, Any]], completes: bool) -> Answer:
    items, words = place.schema["items"], list(_WORDS) if "POST" in verbs(place) else ["show"]
    if kind == "SET":
        raise _none(kind)
    if completes:
        found = _next_keys(Place(KEYS, place.name, items, (), place.keys), entries)
        return Answer(200, [f"<{key}>" for key in place.keys[:1]] if kind == "ADD" else found + (words if kind == "NONE" else []))
    params = _keys(items, place.keys)
    if kind == "ADD":
        writable = {child.name: child for child in members(Place(ENTRY, place.name, items)) if _is_written(child)}
        optional = {name: _param(child) for name, child in writable.items() if name not in place.keys}
        return Answer(200, {"params": params, "optional-params": optional})
    elements = [{key: str(entry.get(key, "")) for key in place.keys} for entry in entries]
    return Answer(200, {**({"commands": words} if kind == "NONE" else {}), "params": params, "elements": elements})


def _entries(data: Any, places: Sequence[Place]) -> list[Mapping[str, Any]]:
    """The entries of a list that match the keys specified so far."""
    place = places[-1]
    try:
        found = value_at(data, places if place.kind == LIST else places[:-1], "")
    except Refusal:
        return []
    said = dict(zip(place.keys, place.words, strict=False))
    return [entry for entry in found if all(str(entry.get(key)).casefold() == word.casefold() for key, word in said.items())]


def _next_keys(place: Place, entries: Iterable[Mapping[str, Any]]) -> list[str]:
    """The values of the first missing key."""
    key = place.keys[len(place.words)] if len(place.words) < len(place.keys) else ""
    return list(dict.fromkeys(str(entry[key]) for entry in entries if key in entry))


# -- objects -------------------------------------------------------------------------------------------------------------------


def _of_object(kind: str, place: Place, completes: bool) -> Answer:
    children = [child for child in members(place) if child.name not in place.keys]
    if completes:
        return Answer(200, _completion(kind, place, children))
    if kind == "DEL":
        raise _none(kind)
    if kind == "NONE":
        inner = [child for child in children if child.kind not in (LEAF, LEAVES)]
        return Answer(200, {"commands": ["set", "show"], "params": {child.name: _param(child) for child in inner}})
    if kind == "SHOW":
        shown = [child for child in children if child.kind != ACTION]
        return Answer(200, _help(params={child.name: _param(child) for child in shown}))
    written = {child.name: _param(child) for child in children if _is_asked(kind, place, child)}
    return Answer(200, {"params": {}, "optional-params": written} if kind == "ADD" else _help(params=written))


def _completion(kind: str, place: Place, children: Sequence[Place]) -> list[str]:
    if kind == "NONE":
        return [*(child.name for child in children if child.kind not in (LEAF, LEAVES)), "set", "show"]
    if kind == "SHOW":
        return [child.name for child in children if child.kind != ACTION]
    return [f"{child.name}=" for child in children if _is_asked(kind, place, child)]


def _is_asked(kind: str, place: Place, child: Place) -> bool:
    """Whether a leaf is an input of `add` or `set`. Name and service of a cube are in the path."""
    named = place.kind == CUBE and child.name in ("name", "service-name")
    return _is_written(child) and not named and (kind == "ADD" or not child.init_only)


def _is_written(child: Place) -> bool:
    return child.kind in (LEAF, LEAVES) and not child.state


def _inputs(place: Place, holder: Place) -> dict[str, Place]:
    """The inputs of an action: those of its model, or the leaves of the list entries that it edits."""
    what = place.schema.get("x-pcn-edit")
    if what is None:
        schema = place.schema.get("input") or {}
        return {child.name: child for child in members(Place(CONTAINER, "", schema))}
    items = holder.schema["properties"][what[1]]
    if what[0] == "batch":
        return {f"{what[1]}s": Place(LIST, f"{what[1]}s", items)}
    key = items["x-yang-key"][0]
    inner = members(Place(ENTRY, what[1], items["items"]))
    return {child.name: child for child in inner if _is_written(child) and (what[0] != "append" or child.name != key)}


def _keys(items: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return _keys_of({key: Place(LEAF, key, items["properties"][key]) for key in keys})


def _keys_of(places: Mapping[str, Place]) -> dict[str, Any]:
    return {name: {**_param(place), "type": "key", "simpletype": _simple(place.schema)} for name, place in places.items()}


def _param(place: Place) -> dict[str, str]:
    kinds = {LEAF: "leaf", LEAVES: "leaf", LIST: "list", ACTION: "action", CONTAINER: "complex", CUBE: "complex"}
    said = {"name": place.name, "type": kinds[place.kind]}
    said |= {"simpletype": _simple(place.schema)} if place.kind in (LEAF, LEAVES) else {}
    examples = place.schema.get("examples") or [""]
    return said | {"description": str(place.schema.get("description", "")), "example": str(examples[0])}


def _simple(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type", "string")
    first = kind[0] if isinstance(kind, list) else kind
    return "unsigned" if first == "integer" and schema.get("minimum", -1) >= 0 else _SIMPLE.get(str(first), "string")


def _help(commands: Sequence[str] = (), params: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return ({"commands": list(commands)} if commands else {}) | {"params": dict(params or {})}
