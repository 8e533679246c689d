"""The fact `parent`: where a transparent cube is attached, for services that derive rows from it.

It depends on the documents alone, so the same documents yield the same rows: a port with its own leaves and its peer, or a
netdev with the addresses that a topology assigns. A cube that is attached nowhere, or may be at several places, has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reconciler.facts import PARENT
from reconciler.model import Topology


def parents(topologies: Sequence[Topology]) -> dict[str, dict[str, Any]]:
    """The fact by cube: {"parent": {"cube", "port", "leaves", "netdev"?}} or {"parent": {"netdev", "addresses"}}."""
    given = {
        end.name: list(end.addresses)
        for topology in topologies
        for link in topology.links
        for end in (link.end, link.peer)
        if end is not None and end.netns is None
    }
    found: dict[str, dict[str, Any]] = {}
    for topology in topologies:
        for cube in topology.cubes:
            for port in cube.ports:
                to = {"netdev": port.peer} if port.peer and ":" not in port.peer else {}
                about = {"cube": cube.name, "port": port.name, "leaves": dict(port.config)} | to
                found |= {name: {PARENT: about} for name in port.tcubes}
        for attachment in (each for each in topology.attachments if each.netdev):
            about = {"netdev": attachment.netdev, "addresses": given.get(attachment.netdev, [])}
            found |= {name: {PARENT: about} for name in attachment.tcubes}
    return found
