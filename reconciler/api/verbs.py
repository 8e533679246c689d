"""The methods of each kind of node of a model, as in Polycube. Pure."""

from __future__ import annotations

from reconciler.service.model.walk import ACTION, KEYS, LEAF, LEAVES, Place


def verbs(place: Place) -> tuple[str, ...]:
    if place.kind == ACTION:
        return "POST", "OPTIONS"
    if place.kind == KEYS:
        return ("OPTIONS",)
    if place.state or place.init_only or (place.kind == LEAF and place.name == "service-name"):
        return "GET", "OPTIONS"
    if place.kind in (LEAF, LEAVES):
        return "GET", "PUT", "PATCH", "OPTIONS"
    return "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"
