"""Peers of ports, and chains of transparent cubes on ports and netdevs, as edits of a document. Pure.

A peering is written and cleared on both sides. Chains are ordered from the wire inwards, on ports and netdevs alike; Polycube's
`first` is nearest to the cube on a port, and to the wire on a netdev.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from reconciler.errors import EditRefused

Document = Mapping[str, Any]


def connect(document: Document, one: str, other: str) -> dict[str, Any]:
    """Connect two ports, or a port and a netdev. Raises EditRefused, also if a port has a peer already."""
    ends = [end for end in (one, other) if _port(document, end) is not None]
    if not ends:
        raise EditRefused("data-missing", f"neither {one} nor {other} is a port (cube:port) that can be changed here")
    for end in ends:
        peer = (_port(document, end) or {}).get("peer")
        if peer:
            raise EditRefused("data-exists", f"{end} is connected to {peer} already", end, "peer")
    for end in ends:
        document = _with_port(document, end, lambda port, to=other if end == one else one: {**port, "peer": to})  # type: ignore[misc]
    return dict(document)


def disconnect(document: Document, one: str, other: str) -> dict[str, Any]:
    if not any(_peer(document, a) == b for a, b in ((one, other), (other, one))):
        raise EditRefused("data-missing", f"{one} and {other} are not connected")
    return _cleared(_cleared(document, one, other), other, one)


def set_peer(document: Document, end: str, peer: str) -> dict[str, Any]:
    """Set a port's peer, or remove it (''). The old peering is cleared on both sides."""
    if _port(document, end) is None:
        raise EditRefused("data-missing", f"there is no port {end}", end)
    old = _peer(document, end)
    document = _cleared(_cleared(document, end, old), old, end) if old else document
    return dict(_with_port(document, end, lambda port: {**port, "peer": peer})) if peer else dict(document)


def attach(document: Document, cube: str, place: str, position: Mapping[str, str]) -> dict[str, Any]:
    """Insert a transparent cube into the chain of a port or a netdev. `position`: {"position": "first"}, {"before": cube}, …"""
    if all(each["name"] != cube for each in document["spec"].get("cubes", ())):
        raise EditRefused("data-missing", f'there is no cube "{cube}" that can be changed here', "/attach/cube", "cube")
    if _port(document, place) is not None:
        return _with_port(document, place, lambda port: {**port, "tcubes": _put(port.get("tcubes", []), cube, position, True)})
    if ":" in place:
        raise EditRefused("data-missing", f"there is no port {place}", "/attach/port", "port")
    entries = document["spec"].get("attachments", [])
    old = next((each for each in entries if each.get("netdev") == place), {"netdev": place, "tcubes": []})
    new = {**old, "tcubes": _put(old["tcubes"], cube, position, False)}
    kept = [new if each is old else each for each in entries]
    return {**document, "spec": {**document["spec"], "attachments": kept if old["tcubes"] else [*entries, new]}}


def detach(document: Document, cube: str, place: str) -> dict[str, Any]:
    port = _port(document, place)
    attached = next((each for each in document["spec"].get("attachments", ()) if each.get("netdev") == place), None)
    holder: Mapping[str, Any] = port or attached or {}
    if cube not in holder.get("tcubes", ()):
        raise EditRefused("data-missing", f"{cube} is not attached to {place}", "/detach/cube", "cube")
    if port is not None:
        return _with_port(document, place, lambda old: _without(old, cube))
    entries = [_without(each, cube) if each.get("netdev") == place else each for each in document["spec"]["attachments"]]
    return {**document, "spec": {**document["spec"], "attachments": [each for each in entries if each["tcubes"]]}}


def _put(chain: Sequence[str], cube: str, position: Mapping[str, str], on_port: bool) -> list[str]:
    if cube in chain:
        raise EditRefused("data-exists", f"{cube} is attached there already", "/attach/cube", "cube")
    said, before, after = position.get("position", "auto"), position.get("before"), position.get("after")
    if before is None and after is None:
        if said not in ("first", "last", "auto"):
            raise EditRefused("bad-attribute", "expected first, last or auto", "/attach/position", "position")
        at_wire = (said == "last") == on_port
        return [cube, *chain] if at_wire else [*chain, cube]
    neighbour = before if before is not None else after
    if neighbour not in chain:
        side = "before" if before is not None else "after"
        raise EditRefused("invalid-value", f"{neighbour} is not attached there", f"/attach/{side}", side)
    at = chain.index(neighbour) + int((before is not None) == on_port)
    return [*chain[:at], cube, *chain[at:]]


def _without(holder: Mapping[str, Any], cube: str) -> dict[str, Any]:
    return {**holder, "tcubes": [name for name in holder["tcubes"] if name != cube]}


def _port(document: Document, end: str) -> Mapping[str, Any] | None:
    name, _, port = end.partition(":")
    cubes = document["spec"].get("cubes", ())
    cube: Mapping[str, Any] = next((each for each in cubes if each["name"] == name), {})
    return next((each for each in cube.get("ports", ()) if each["name"] == port), None)


def _peer(document: Document, end: str) -> str:
    return str((_port(document, end) or {}).get("peer", ""))


def _cleared(document: Document, end: str, peer: str) -> dict[str, Any]:
    """Remove the peer of a port, if it equals `peer`."""
    if not peer or _peer(document, end) != peer:
        return dict(document)
    return _with_port(document, end, lambda port: {name: value for name, value in port.items() if name != "peer"})


def _with_port(document: Document, end: str, change: Callable[[Mapping[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    name, _, wanted = end.partition(":")
    cubes = []
    for cube in document["spec"]["cubes"]:
        if cube["name"] == name:
            cube = {**cube, "ports": [change(port) if port["name"] == wanted else port for port in cube["ports"]]}  # noqa: PLW2901
        cubes.append(cube)
    return {**document, "spec": {**document["spec"], "cubes": cubes}}


def settled(before: Document, after: Document) -> dict[str, Any]:
    """After an edit: clear the peer of ports whose peer no longer refers to them."""
    now = _peers(after)
    for end, old in _peers(before).items():
        if now.get(end) != old and now.get(old) == end:
            after = _cleared(after, old, end)
    return dict(after)


def _peers(document: Document) -> dict[str, str]:
    cubes = document["spec"].get("cubes", ())
    return {f"{cube['name']}:{port['name']}": port.get("peer", "") for cube in cubes for port in cube.get("ports", ())}
