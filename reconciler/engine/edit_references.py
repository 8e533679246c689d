"""Removes references to deleted cubes and ports: from peers of other ports, lists of transparent cubes, attachments. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any


def without_references(spec: Mapping[str, Any], lost: Collection[str]) -> dict[str, Any]:
    """A topology's spec without references to `lost`: names of cubes, and ports as cube:port."""
    result = {**spec, "cubes": [_cube(cube, lost) for cube in spec["cubes"]]}
    attachments = [_without_tcubes(entry, lost) for entry in spec.get("attachments", ())]
    if "attachments" in spec:
        result["attachments"] = [entry for entry in attachments if entry.get("tcubes")]
    return result


def _cube(cube: dict[str, Any], lost: Collection[str]) -> dict[str, Any]:
    """The cube without such references; the same object if it has none."""
    ports = cube.get("ports", ())
    kept = [_port(port, lost) for port in ports]
    return cube if all(one is other for one, other in zip(ports, kept, strict=True)) else {**cube, "ports": kept}


def _port(port: dict[str, Any], lost: Collection[str]) -> dict[str, Any]:
    if port.get("peer") in lost and ":" in port["peer"]:
        port = {name: value for name, value in port.items() if name != "peer"}
    return _without_tcubes(port, lost)


def _without_tcubes(holder: dict[str, Any], lost: Collection[str]) -> dict[str, Any]:
    kept = [name for name in holder.get("tcubes", ()) if name not in lost]
    return holder if len(kept) == len(holder.get("tcubes", ())) else {**holder, "tcubes": kept}
