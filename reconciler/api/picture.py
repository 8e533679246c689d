"""The live graph for the page: cubes, ports, netdevs and chains, with those that wait or drifted."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from typing import Any

from reconciler.api.store import Seen, Store
from reconciler.graph.records import CubeRecord


def picture(store: Store) -> dict[str, Any]:
    """{"host", "writable", "topologies", "cubes", "netdevs", "attachments"}; `writable`: the topology that is editable here. A
    netdev with a `host` is one end of a veth into that network namespace."""
    seen = store.look()
    hosts = dict(_hosts(seen))
    cubes = [_cube(store, seen, record) for record in seen.cubes.values()]
    named = {port["peer"] for cube in cubes for port in cube["ports"] if port["peer"] and ":" not in port["peer"]}
    named |= set(seen.traced.attachments)
    return {
        "host": socket.gethostname(),
        "writable": store.topology,
        "topologies": {record.name: store.revision(record.name, seen) for record in seen.live.documents},
        "cubes": cubes,
        "netdevs": {name: _netdev(seen, name, hosts) for name in sorted(named)},
        "attachments": {netdev: list(chain) for netdev, chain in sorted(seen.traced.attachments.items())},
    }


def _cube(store: Store, seen: Seen, record: CubeRecord) -> dict[str, Any]:
    service = store.options.services.get(record.service)
    ports = []
    for port in seen.ports[record.name]:
        place = (record.name, port.name)
        peer = seen.traced.peers.get(place) or ("" if port.peer == "-" else port.peer)
        waits = bool(peer) and ":" not in peer and peer not in seen.traced.netdevs
        chain = list(seen.traced.tcubes.get(place, ()))
        ports.append({"name": port.name, "peer": peer, "waits": waits, "tcubes": chain})
    return {
        "name": record.name, "service": record.service, "type": record.type, "topology": record.topology,
        "kind": service.kind if service is not None else "standard", "ports": ports, "parent": seen.parents.get(record.name, ""),
    }  # fmt: skip


def _netdev(seen: Seen, name: str, hosts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    found = next((netdev for netdev in seen.live.netdevs.values() if netdev.name == name and netdev.netns is None), None)
    host = {"host": hosts[name]} if name in hosts else {}
    if found is None:
        return {"there": name in seen.traced.netdevs, "up": False, **host}
    return {"there": True, "up": found.up and found.running, "kind": found.kind, "mac": found.mac, "mtu": found.mtu, **host}


def _hosts(seen: Seen) -> Iterator[tuple[str, dict[str, Any]]]:
    """By netdev: the namespace of its veth peer as the applied documents declare it, with name and addresses there."""
    for record in seen.live.documents:
        for link in record.stored.data.get("spec", {}).get("links", ()):
            near, far = link, link.get("peer")
            if not isinstance(far, Mapping):
                continue
            if near.get("netns"):
                near, far = far, near
            if far.get("netns") and not near.get("netns"):
                yield near["name"], {"netns": far["netns"], "name": far["name"], "addresses": list(far.get("addresses", ()))}
