"""What Linux tools changed at the netdevs in the namespaces of shadows, and their last configuration."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any

from reconciler import pins
from reconciler.facts import SHADOW
from reconciler.kernel import netns, rtnl
from reconciler.kernel.reader import Reader


def shadow_facts(reader: Reader, cubes: Collection[str]) -> dict[str, Any]:
    """The fact `shadow` of these cubes, by cube and port; {} if there are none. Raises KernelError."""
    return {SHADOW: {cube: _namespace(reader, cube) for cube in sorted(cubes)}} if cubes else {}


def told(reader: Reader, path: str) -> Mapping[str, Any]:
    """The last configuration of a netdev; {} if there is none."""
    with suppress(ValueError):
        said = json.loads(reader.link_text(path) or "{}")
        return said if isinstance(said, dict) else {}
    return {}


def _namespace(reader: Reader, cube: str) -> dict[str, dict[str, Any]]:
    """Link-local addresses are omitted."""
    name = pins.shadow_namespace(cube)
    found = {}
    for port, state in sorted(rtnl.ends(name).items()) if netns.exists(name) else ():
        if port == "lo":
            continue
        found[port] = {
            "mac": state.netdev.mac,
            "addresses": [each.address for each in state.addresses if not each.address.startswith("fe80:")],
            "routes": [{"to": to, "via": via or None} for to, via in sorted((each.to, each.via or "") for each in state.routes)],
            "told": told(reader, pins.told(cube, port)),
        }
    return found
