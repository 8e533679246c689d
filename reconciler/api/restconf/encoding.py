"""JSON encoding of YANG data (RFC 7951), and selection by query parameters (RFC 8040, 4.8). Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from reconciler.api.answers import Answer, Refusal
from reconciler.service.model.walk import ENTRY, LEAF, LEAVES, LIST, Place, members

MEDIA_TYPE = "application/yang-data+json"
ALL, CONFIG, STATE = "all", "config", "nonconfig"
_AS_TEXT = ("int64", "uint64", "decimal64")
_OUTSIDE = ("_links", "uuid", "parent", "status")
"""Leaves of cubes and ports that only Polycube's paths have, and no module."""


def encoded(place: Place, value: Any, content: str = ALL, depth: int | None = None) -> Any:
    """Encode the value of a node. `depth` counts levels of nodes, this one the first; None: unlimited."""
    if place.kind == LIST:
        entry = Place(ENTRY, place.name, place.schema["items"], (), place.keys, place.state)
        return [_object(entry, each, content, depth) for each in value]
    if place.has_members:
        return _object(place, value, content, depth)
    if place.kind == LEAVES:
        return [_scalar(place.schema.get("items", {}), each) for each in value]
    return _scalar(place.schema, value)


def _object(place: Place, value: Mapping[str, Any], content: str, depth: int | None) -> dict[str, Any]:
    if depth == 1:
        return {key: value[key] for key in place.keys if key in value}
    below = None if depth is None else depth - 1
    return dict(_members(place, value, content, below))


def _members(place: Place, value: Mapping[str, Any], content: str, depth: int | None) -> Iterator[tuple[str, Any]]:
    for child in members(place):
        if child.name not in value or child.name in _OUTSIDE or (child.name == "peer" and not value["peer"]):
            continue  # Polycube's paths return "" for a port without a peer, which is invalid in that type
        inner = child.has_members or child.kind == LIST
        is_key = child.name in place.keys or (not place.keys and child.name == "name")
        if not is_key and ((content == CONFIG and child.state) or (content == STATE and not child.state and not inner)):
            continue
        found = encoded(child, value[child.name], content, depth)
        if content == STATE and inner and not child.state and not found:
            continue
        yield child.name, found


def _scalar(schema: Mapping[str, Any], value: Any) -> Any:
    whole = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if whole and schema.get("x-yang-type") in _AS_TEXT else value


def unwrapped(body: Any, module: str, place: Place | None = None) -> tuple[str, Any]:
    """Name and value of a body's single node; an entry is a list of one. Raises Refusal."""
    if not isinstance(body, dict) or len(body) != 1:
        raise Refusal(400, "malformed-message", f'a body is an object with one member, such as "{module}:ports"')
    ((member, value),) = body.items()
    said, _, name = member.rpartition(":")
    if said not in ("", module):
        raise Refusal(400, "unknown-element", f"{member}: this is data of module {module}")
    if place is not None and name != place.name:
        raise Refusal(400, "invalid-value", f'the path is of "{place.name}", and the body of "{name}"')
    if place is not None and place.kind == ENTRY:
        return name, sole(name, value)
    return name, value


def sole(name: str, value: Any) -> Any:
    """The entry of a list of one. Raises Refusal."""
    if not isinstance(value, list) or len(value) != 1 or not isinstance(value[0], dict):
        raise Refusal(400, "invalid-value", f'"{name}" is a list: its entry comes as an array of one object')
    return value[0]


def is_leaf(place: Place) -> bool:
    return place.kind in (LEAF, LEAVES)


def refused(answer: Answer, method: str) -> Answer:
    """An error answer with the members of RFC 8040. Polycube's path and leaf become `error-info`, since neither is an
    instance-identifier. DELETE of a missing resource is 404 (RFC 8040, 4.7)."""
    told = []
    for error in answer.data["ietf-restconf:errors"]["error"]:
        about = {f"pcn:{name}": error[key] for name, key in (("path", "error-path"), ("leaf", "error-info")) if error.get(key)}
        kept = {key: value for key, value in error.items() if key not in ("error-path", "error-info")}
        told.append(kept | ({"error-info": about} if about else {}))
    absent = method == "DELETE" and told[0]["error-tag"] == "data-missing"
    return replace(
        answer, status=404 if absent else answer.status, data={"ietf-restconf:errors": {"error": told}}, kind=MEDIA_TYPE
    )
