"""Resolves a path, as in a URL or a command, in a service's model.

    chain/INGRESS/rule/7/action      list, its entry, list, its entry (keys in the model's order), leaf

Each step is a Place: the kind of node and its part of the schema. Pure, and independent of services.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

CUBE, CONTAINER, LIST, ENTRY, KEYS = "cube", "container", "list", "entry", "keys"
LEAF, LEAVES, ACTION = "leaf", "leaf-list", "action"
"""Kinds of places; KEYS is a list with some of its keys given, LEAVES a leaf-list."""


class NoSuchPlace(Exception):
    """The model has nothing under that name: `name`, below `place`."""

    def __init__(self, name: str, place: Place) -> None:
        self.name, self.place = name, place
        super().__init__(name)


@dataclass(frozen=True, slots=True)
class Place:
    """`schema`: of an entry, that of the list's entries. `words` are the keys of an entry as they were written; `state`: the
    datapath owns the node (config false); `numbered`: the list has actions that append to it."""

    kind: str
    name: str
    schema: Mapping[str, Any]
    words: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    state: bool = False
    numbered: bool = False

    @property
    def has_members(self) -> bool:
        return self.kind in (CUBE, CONTAINER, ENTRY)

    @property
    def init_only(self) -> bool:
        return bool(self.schema.get("x-init-only"))


def words_of(path: str) -> tuple[str, ...]:
    """The segments of a path; each may be percent-encoded, since a key may contain a slash."""
    return tuple(unquote(word) for word in path.split("/") if word)


def path_of(words: Sequence[str]) -> str:
    """The inverse."""
    return "/".join(quote(word, safe=":[]@!$&'()*+,;=") for word in words)


def walk(schema: Mapping[str, Any], words: Sequence[str]) -> tuple[Place, ...]:
    """The places along a path, from a cube of this schema on. Raises NoSuchPlace."""
    places = [Place(CUBE, "", schema)]
    rest = list(words)
    while rest:
        here = places[-1]
        if here.kind == LIST:
            count = len(here.keys)
            given, rest = tuple(rest[:count]), rest[count:]
            if not count:
                raise NoSuchPlace(words[-1], here)
            kind = ENTRY if len(given) == count else KEYS
            places.append(Place(kind, here.name, here.schema["items"], given, here.keys, here.state))
            continue
        places.append(_below(here, rest.pop(0)))
    return tuple(places)


def _below(here: Place, name: str) -> Place:
    if here.has_members:
        if name in here.schema.get("properties", {}):
            return _place(name, here.schema["properties"][name], here)
        if name in here.schema.get("x-state", {}):
            return _place(name, here.schema["x-state"][name], here, state=True)
        if name in here.schema.get("x-actions", {}):
            return Place(ACTION, name, here.schema["x-actions"][name])
    raise NoSuchPlace(name, here)


def _place(name: str, schema: Mapping[str, Any], above: Place, *, state: bool = False) -> Place:
    edited = (action.get("x-pcn-edit", ()) for action in above.schema.get("x-actions", {}).values())
    numbered = any(name in words[1:] for words in edited)
    return Place(kind_of(schema), name, schema, (), tuple(schema.get("x-yang-key", ())), state or above.state, numbered)


def kind_of(schema: Mapping[str, Any]) -> str:
    """The kind of place that a member of this schema is."""
    if "properties" in schema:
        return CONTAINER
    if schema.get("type") == "array":
        return LIST if "properties" in schema.get("items", {}) else LEAVES
    return LEAF


def members(place: Place) -> Iterator[Place]:
    """What is below a place with members: configuration, state, then actions, as the model has them."""
    yield from (_place(name, schema, place) for name, schema in place.schema.get("properties", {}).items())
    yield from (_place(name, schema, place, state=True) for name, schema in place.schema.get("x-state", {}).items())
    yield from (Place(ACTION, name, schema) for name, schema in place.schema.get("x-actions", {}).items())


def always_has(place: Place) -> bool:
    """Whether a list's possible entries are few and fixed (its keys are enumerations), so that one which is not in the
    document exists with its defaults: a chain for each direction."""
    properties = place.schema["items"]["properties"]
    return bool(place.keys) and all("enum" in properties[key] for key in place.keys)
