"""Facts as they are now: the host's, by netlink, and those that workers published, which the kernel keeps below their cubes."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from reconciler import facts, pins
from reconciler.kernel import rtnl
from reconciler.kernel.bpffs import Bpffs
from reconciler.kernel.reader import Reader

if TYPE_CHECKING:
    from reconciler.facts.own import OwnNetdev


def host_facts(names: Iterable[str], netdevs: Mapping[str, Any]) -> dict[str, Any]:
    """The host's facts of these names; addresses are read now. Raises KernelError."""
    return facts.host(frozenset(names), netdevs, rtnl.addresses)


def own_netdevs(names: Collection[str], netdevs: Mapping[str, Any]) -> dict[str, OwnNetdev]:
    """What the host has at these netdevs, read now; nothing is read for none. Raises KernelError."""
    if not names:
        return {}
    from reconciler.facts import own

    return own.of(names, netdevs, rtnl.addresses(), own.routes_of(names, netdevs, rtnl.routes))


def published(reader: Reader, cube: str) -> dict[str, Any]:
    """What a cube's worker published; what cannot be read counts as not published."""
    found: dict[str, Any] = {}
    for escaped in reader.names(pins.facts(cube)):
        text = reader.link_text(f"{pins.facts(cube)}/{escaped}") or ""
        with suppress(ValueError):
            found[pins.unescape(escaped)] = json.loads(text)
    return {name: value for name, value in found.items() if not name.endswith("~")}


def keep(root: Bpffs, cube: str, name: str, text: str) -> bool:
    """Store a fact below its cube, if the cube exists. The caller is the only writer."""
    if not root.exists(f"{pins.cube(cube)}/current"):
        return False
    root.make_directory(pins.facts(cube))
    root.set_link(pins.fact(cube, name), text)
    return True
