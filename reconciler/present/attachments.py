"""Attachments of transparent cubes in documents, and selectors in force, which are shown instead of their current matches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from reconciler.facts.selector import LOOPBACK, selected
from reconciler.graph.records import Live
from reconciler.kernel.netstate import ARPHRD_LOOPBACK

Documents = Iterable[Mapping[str, Any]]


def documented(documents: Documents, netdevs: Mapping[str, Any]) -> dict[str, list[str]]:
    """By transparent cube, where documents attach it by name, in their order: netdevs, with altnames resolved, and
    ports as cube:port."""
    documents = list(documents)
    own: Mapping[str, str] = {}
    if any(netdev.other_names for netdev in netdevs.values()):
        from reconciler.graph.altnames import own_names

        own = own_names(set(_written(documents)), netdevs)
    found: dict[str, list[str]] = {}
    for spec in (document.get("spec", {}) for document in documents):
        for item in spec.get("attachments", ()):
            for cube in item["tcubes"] if "netdev" in item else ():
                found.setdefault(cube, []).append(own.get(item["netdev"], item["netdev"]))
        for owner, port in ((cube, port) for cube in spec.get("cubes", ()) for port in cube.get("ports", ())):
            for cube in port.get("tcubes", ()):
                found.setdefault(cube, []).append(f"{owner['name']}:{port['name']}")
    return found


def _written(documents: Documents) -> Iterator[str]:
    """Names in documents that may be those of netdevs: of attachments, and peers."""
    for spec in (document.get("spec", {}) for document in documents):
        yield from (item["netdev"] for item in spec.get("attachments", ()) if "netdev" in item)
        yield from (port["peer"] for cube in spec.get("cubes", ()) for port in cube.get("ports", ()) if "peer" in port)


def selectors_in_force(
    documents: Documents, attachments: Mapping[str, list[str]], live: Live
) -> tuple[list[Mapping[str, Any]], dict[str, list[str]]]:
    """The attachments by selector whose cubes are at every matching netdev, and `attachments` (cubes by netdev) without those
    that are explained by them alone."""
    documents = list(documents)
    kinds = {
        name: LOOPBACK if netdev.link_type == ARPHRD_LOOPBACK else netdev.kind
        for name, netdev in live.netdevs.items()
        if netdev.carries_ethernet
    }
    named, rest = documented(documents, live.netdevs), {netdev: list(cubes) for netdev, cubes in attachments.items()}
    in_force = []
    for item in (item for document in documents for item in document.get("spec", {}).get("attachments", ()) if "netdevs" in item):
        chosen = list(selected(item["netdevs"], kinds))
        if all(cube in attachments.get(netdev, ()) for netdev in chosen for cube in item["tcubes"]):
            in_force.append(item)
            for netdev in chosen:
                own = [cube for cube in item["tcubes"] if netdev not in named.get(cube, ())]
                rest[netdev] = [cube for cube in rest.get(netdev, ()) if cube not in own]
    return in_force, rest
