"""One edit of a topology document: (document, YANG path, change) -> a new document. Pure.

    edit(document, "fw1/chain/INGRESS/rule/7", Change("merge", {"action": "DROP"}), services)
    edit(document, "r1", Change("delete"), services, revision="5f2a…")

The first segment of a path is a cube's name, the others follow the model (service/model/walk.py); an empty path is the list
of cubes. Documents are immutable: the new one shares all unchanged entries, so that of 10,000 rules the memos of all but one
stay valid (incremental/). `check` validates the new document.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import indexOf, methodcaller
from typing import Any

from reconciler.check.schema import Services, service_of
from reconciler.document.suggest import did_you_mean
from reconciler.engine.edit_numbered import NUMBERED, numbered, without
from reconciler.engine.edit_references import without_references
from reconciler.engine.edit_values import vetted, vetted_entry, vetted_leaf
from reconciler.errors import EditRefused
from reconciler.graph.documents import text_of
from reconciler.incremental.persistent_list import splice
from reconciler.service.model.walk import (
    ACTION,
    CONTAINER,
    CUBE,
    ENTRY,
    KEYS,
    LEAF,
    LIST,
    NoSuchPlace,
    Place,
    always_has,
    path_of,
    walk,
    words_of,
)

CREATE, REPLACE, MERGE, DELETE = "create", "replace", "merge", "delete"
_ABSENT: Any = object()


@dataclass(frozen=True, slots=True)
class Change:
    """`operation`: create (it must not exist), replace (completely), merge (the given parts), delete, or one of those on a
    numbered list (edit_numbered), whose name is then `among`."""

    operation: str
    value: Any = None
    among: str = ""


@dataclass(slots=True)
class Edited:
    """The new document, and the operation's output, such as the number of a new entry."""

    document: dict[str, Any]
    output: dict[str, Any] = field(default_factory=dict)


def empty_topology(name: str) -> dict[str, Any]:
    """A topology document without cubes."""
    return {"apiVersion": "polycube.network/v1", "kind": "Topology", "metadata": {"name": name}, "spec": {}}


def revision_of(document: Mapping[str, Any] | str) -> str:
    """The revision of a document, or of its text as stored in the kernel, for optimistic locking."""
    text = document if isinstance(document, str) else text_of(document)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def edit(
    document: Mapping[str, Any], path: str | Sequence[str], change: Change, services: Services, revision: str | None = None
) -> Edited:
    """Raises EditRefused; with `revision`, also if the document has another one."""
    if revision is not None and revision != revision_of(document):
        raise EditRefused("stale", f"the topology has changed: it is at revision {revision_of(document)}, not {revision}")
    words = words_of(path) if isinstance(path, str) else tuple(path)
    edited = Edited({**document, "spec": {**document["spec"]}})
    spec = edited.document["spec"]
    cubes = spec.get("cubes", [])
    if words:
        spec["cubes"] = _with_cube(cubes, words, change, services, edited)
    elif change.operation == CREATE:
        spec["cubes"] = _with_all(cubes, change.value, services, edited)
    else:
        raise EditRefused("operation-not-supported", f"all cubes at once cannot be changed by {change.operation}", "/cubes")
    gone, left = (_ends(each) for each in (cubes, spec["cubes"]))
    if lost := gone - left:
        edited.document["spec"] = without_references(spec, lost)
    return edited


def _ends(cubes: Sequence[Mapping[str, Any]]) -> set[str]:
    """Names that others may refer to: cubes, and their ports as cube:port."""
    ports = {f"{cube['name']}:{port['name']}" for cube in cubes for port in cube.get("ports", ())}
    return ports.union(cube["name"] for cube in cubes)


def _with_all(cubes: list[Any], new: Any, services: Services, edited: Edited) -> list[Any]:
    if not isinstance(new, list):
        raise EditRefused("invalid-value", "expected an array of cubes", "/cubes")
    for number, cube in enumerate(new):
        name = cube.get("name") if isinstance(cube, dict) else None
        if not isinstance(name, str):
            raise EditRefused("missing-attribute", '"name" is missing', f"/cubes/{number}/name", "name")
        cubes = _with_cube(cubes, (name,), Change(CREATE, cube), services, edited)
    return cubes


def _with_cube(cubes: list[Any], words: Sequence[str], change: Change, services: Services, edited: Edited) -> list[Any]:
    place = next((number for number, cube in enumerate(cubes) if cube["name"] == words[0]), len(cubes))
    old = cubes[place] if place < len(cubes) else _ABSENT
    where = f"/cubes/{path_of(words)}"
    if old is _ABSENT and (len(words) > 1 or change.operation in (MERGE, DELETE)):
        raise EditRefused("data-missing", f'there is no cube "{words[0]}"', f"/cubes/{words[0]}", words[0])
    if len(words) == 1 and isinstance(change.value, dict):
        change = Change(change.operation, _as_cube(change.value, words[0], old, where), change.among)
    new_one = old is _ABSENT or (change.operation == REPLACE and len(words) == 1)
    service = service_of(change.value if new_one else old, services)
    if service is None:
        raise EditRefused("invalid-value", "it names no service that is known here", f"{where}/service-name", "service-name")
    try:
        places = walk(service.schema, words[1:])
    except NoSuchPlace as none:
        raise _nowhere(none, where) from None
    new = _changed(old, places[0], places[1:], change, where, edited)
    return splice(cubes, place, [] if new is _ABSENT else [new], max(len(cubes) - place - 1, 0))


def _as_cube(value: dict[str, Any], name: str, old: Any, where: str) -> dict[str, Any]:
    """A cube with its name, and its present service. Raises EditRefused if the value has another name."""
    service = {} if old is _ABSENT else {"service-name": old["service-name"]}
    return {**service, **_with_key(value, {"name": name}, where)}


def _nowhere(none: NoSuchPlace, where: str) -> EditRefused:
    known = none.place.schema.get("properties", {})
    near = did_you_mean(none.name, known) if none.place.has_members else ""
    return EditRefused("unknown-element", f'there is no "{none.name}"' + (f"; {near}" if near else ""), where, none.name)


def _changed(old: Any, place: Place, rest: Sequence[Place], change: Change, where: str, edited: Edited) -> Any:
    """The new value at `place`, where it is `old`, after the change at the last place of `rest`, below it."""
    if not rest:
        return _target(old, place, change, where, edited)
    step, *below = rest
    if step.state or step.kind in (ACTION, KEYS):
        raise EditRefused("operation-not-supported", "it is not configuration", where, step.name)
    if step.kind == LIST and below:
        new = _with_entry(old.get(step.name, []), step, below, change, where, edited)
    else:
        inner = old.get(step.name, {} if step.kind == CONTAINER else _ABSENT)
        if step.name in place.keys:
            raise EditRefused("operation-not-supported", "it is a key: make another entry instead", where, step.name)
        new = _changed(inner, step, below, change, where, edited)
    rest_of = {name: value for name, value in old.items() if name != step.name}
    return rest_of if new is _ABSENT else {**old, step.name: new}


def _with_entry(
    entries: list[Any], place: Place, below: Sequence[Place], change: Change, where: str, edited: Edited
) -> list[Any]:
    """The list after a change of one of its entries, or of a node below that."""
    entry, leaves = below[0], place.schema["items"]["properties"]
    if entry.kind == KEYS:
        raise EditRefused("operation-not-supported", f"an entry has the keys {', '.join(place.keys)}", where, place.keys[-1])
    said = zip(place.keys, entry.words, strict=True)
    key = {name: vetted_leaf(leaves[name], word, f"{where}/{name}") for name, word in said}
    at = _find(entries, key)
    here = len(below) == 1 and change.operation not in NUMBERED  # these change a list in the entry
    old = entries[at] if at < len(entries) else dict(key) if not here and always_has(place) else _ABSENT
    if old is _ABSENT and (not here or change.operation == DELETE or (change.operation == MERGE and not always_has(place))):
        raise EditRefused("data-missing", f'there is no {place.name} "{" ".join(entry.words)}"', where, place.name)
    if here and change.operation == DELETE and place.numbered:
        return without(entries, place.keys[0], at)
    if here and change.operation in (CREATE, REPLACE, MERGE):
        change = Change(change.operation, _with_key(change.value, key, where))
        old = key if old is _ABSENT and change.operation == MERGE else old
    new = _changed(old, entry, below[1:], change, where, edited)
    return splice(entries, at, [] if new is _ABSENT else [new], max(len(entries) - at - 1, 0))


def _find(entries: Sequence[Any], key: Mapping[str, Any]) -> int:
    """The index of the entry with a key; `len(entries)` if there is none."""
    name, value = next(iter(key.items()))
    leaves, at = map(methodcaller("get", name), entries), -1  # the first key leaf rules out most entries
    while True:
        try:
            at += 1 + indexOf(leaves, value)
        except ValueError:
            return len(entries)
        if all(entries[at].get(each) == wanted for each, wanted in key.items()):
            return at


def _with_key(value: Any, key: Mapping[str, Any], where: str) -> Any:
    """An entry with the keys of its path. Raises EditRefused if it has different ones."""
    if not isinstance(value, dict):
        return value
    for name, word in key.items():
        if name in value and str(value[name]).casefold() != str(word).casefold():
            raise EditRefused("invalid-value", f"the path says {word!r}, the value {value[name]!r}", f"{where}/{name}", name)
    return {**key, **{name: part for name, part in value.items() if name not in key}}


def _target(old: Any, place: Place, change: Change, where: str, edited: Edited) -> Any:
    """The changed value."""
    operation = change.operation
    if operation in NUMBERED:
        new, output = numbered(old, place, operation, change.among, change.value, where)
        edited.output |= output
        return new
    if operation == DELETE:
        return _ABSENT
    if operation == CREATE and place.kind in (CUBE, ENTRY) and old is not _ABSENT:
        raise EditRefused("data-exists", "it is there already", where, place.name)
    if operation == CREATE and place.kind not in (CUBE, ENTRY, CONTAINER, LIST):
        raise EditRefused("operation-not-supported", "a leaf is set, not created", where, place.name)
    if place.kind == LIST:
        return _list(old, place, change, where)
    if place.kind == LEAF and place.init_only:
        raise EditRefused("invalid-value", "it is set when the cube is made, and not changed later", where, place.name)
    if operation == REPLACE or place.kind == LEAF or (operation == CREATE and place.kind != CONTAINER) or not place.has_members:
        return vetted(place.schema, change.value, where, whole=True)
    return merged(place.schema, old, vetted(place.schema, change.value, where, whole=False))


def _list(old: Any, place: Place, change: Change, where: str) -> list[Any]:
    """The list after entries were created or merged, or all were replaced."""
    new = vetted(place.schema, change.value, where, whole=change.operation != MERGE)
    entries = [] if old is _ABSENT or change.operation == REPLACE else old
    if change.operation == CREATE:
        for entry in new:
            key = {name: entry[name] for name in place.keys}
            if key and _find(entries, key) < len(entries):
                at = path_of([str(part) for part in key.values()])
                raise EditRefused("data-exists", "it is there already", f"{where}/{at}", place.name)
        return splice(entries, len(entries), new, 0)
    return _merged_list(place.schema, entries, new, where)


def merged(schema: Mapping[str, Any], old: Any, new: Any, where: str = "") -> Any:
    """`old` merged with `new`: objects member by member, lists entry by entry, leaves replaced."""
    if not isinstance(new, dict) or not isinstance(old, dict):
        return new
    result = dict(old)
    for name, value in new.items():
        node = schema["properties"].get(name, {})
        if isinstance(value, list) and node.get("x-yang-key"):
            result[name] = _merged_list(node, old.get(name, []), value, where)
        else:
            result[name] = merged(node, old.get(name), value, where)
    return result


def _merged_list(schema: Mapping[str, Any], entries: list[Any], new: list[Any], where: str) -> list[Any]:
    for entry in new:
        key = {name: entry[name] for name in schema.get("x-yang-key", ())}
        at = _find(entries, key) if key else len(entries)
        old = entries[at] if at < len(entries) else None
        made = merged(schema["items"], old, entry) if old is not None else vetted_entry(schema, entry, where, whole=True)
        entries = splice(entries, at, [made], max(len(entries) - at - 1, 0))
    return entries
