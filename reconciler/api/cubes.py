"""Live cubes in Polycube's format: the short form of lists, and the entire tree. Pure, but for reads of `Store`."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reconciler.api.store import Seen, Store
from reconciler.check.defaults import fill
from reconciler.incremental.memo import once
from reconciler.service.model.walk import Place, always_has, members
from reconciler.service.registry import LEVELS

_HEAD = ("name", "uuid", "service-name", "type", "loglevel")
_TAIL = ("shadow", "span")
_STATE = ("uuid", "parent", "_links")
"""Leaves that only the API adds, and ignores in requests; of a port also its `status`."""
_UNUSED = {"shadow": False, "span": False}


def brief(store: Store, seen: Seen, name: str) -> dict[str, Any]:
    """The short form of a cube, for lists."""
    record, service = seen.cubes[name], store.options.services.get(seen.cubes[name].service)
    found: dict[str, Any] = {"name": name, "uuid": uuid_of(name), "service-name": record.service, "type": record.type}
    found["loglevel"] = _loglevel(seen, name)
    if service is not None and service.kind == "transparent":
        return found | {"parent": seen.parents.get(name, "")}
    ports = []
    for port in seen.ports[name]:
        peer = _peer(seen, name, port.name, port.peer)
        ports.append({"name": port.name, **({"peer": peer} if peer else {})})
    said = store.said(record, seen)
    return found | {"ports": ports} | {leaf: said.get(leaf, off) for leaf, off in _UNUSED.items()}


def whole(store: Store, seen: Seen, name: str) -> dict[str, Any]:
    """A cube's tree: configuration with its defaults, and state."""
    record = seen.cubes[name]
    service = store.options.services.get(record.service)
    if service is None:
        return brief(store, seen, name)
    data = _with_known_entries(service.schema, fill(service.schema, store.cube(name, seen)))
    data |= {"uuid": uuid_of(name), "loglevel": data.get("loglevel", "INFO")}
    if service.kind == "transparent":
        data["parent"] = seen.parents.get(name, "")
    else:
        peers = {port.name: _peer(seen, name, port.name, port.peer) for port in seen.ports[name]}
        data["ports"] = [_port(name, port, peers.get(port["name"], ""), seen) for port in data.get("ports", [])]
        data = _UNUSED | data
    order = dict.fromkeys((*_HEAD, "parent", "ports", *_TAIL, *service.schema["properties"], *data))
    return {leaf: data[leaf] for leaf in order if leaf in data}


def _port(cube: str, port: Mapping[str, Any], peer: str, seen: Seen) -> dict[str, Any]:
    up = peer and (":" in peer or peer in seen.traced.netdevs)
    head = {"name": port["name"], "uuid": uuid_of(f"{cube}:{port['name']}"), "status": "UP" if up else "DOWN", "peer": peer}
    return head | {name: value for name, value in port.items() if name not in head}


def _peer(seen: Seen, cube: str, port: str, said: str) -> str:
    """The peer of a port, also one that it waits for."""
    found = seen.traced.peers.get((cube, port))
    return found if found is not None else said if said != "-" and ":" not in said and said not in seen.traced.netdevs else ""


def _with_known_entries(schema: Mapping[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    """Adds the entries that exist by default (a chain for each direction)."""
    for place in members(Place("cube", "", schema)):
        if place.kind == "list" and not place.state and always_has(place) and len(place.keys) == 1:
            key, entries = place.keys[0], list(data.get(place.name, []))
            there = {entry[key] for entry in entries}
            items = place.schema["items"]
            entries += [fill(items, {key: word}) for word in items["properties"][key]["enum"] if word not in there]
            data[place.name] = entries
    return data


def _loglevel(seen: Seen, name: str) -> str:
    """The log level of its programs."""
    for program in seen.programs[name]:
        made = seen.objects.get(program.object)
        offset = made.constants.get("LOGLEVEL") if made is not None else None
        number = int.from_bytes(program.constants[offset : offset + 4], "little") if offset is not None else len(LEVELS)
        if number < len(LEVELS):
            return LEVELS[number]
    return "INFO"


def configuration(cube: Any, kind: str = "") -> Any:
    """A cube as it was sent, without the leaves that the API adds; a port without a peer has none. `kind` is its service's: a
    transparent one lacks some leaves that Polycube has for every cube."""
    if not isinstance(cube, dict):
        return cube
    absent = {} if kind == "standard" else _UNUSED
    kept = {name: value for name, value in cube.items() if name not in _STATE and absent.get(name) is not value}
    if isinstance(kept.get("ports"), list):
        kept["ports"] = [port_configuration(port) for port in kept["ports"]]
    return kept


def port_configuration(port: Any) -> Any:
    if not isinstance(port, dict):
        return port
    return {name: value for name, value in port.items() if name not in (*_STATE, "status") and (name, value) != ("peer", "")}


@once
def _host() -> uuid.UUID:
    """UUID of this boot of this host, the namespace of cubes' UUIDs."""
    return uuid.UUID(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())


def uuid_of(name: str) -> str:
    return str(uuid.uuid5(_host(), name))
