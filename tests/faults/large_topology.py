"""A topology of 20 cubes, large enough to be interrupted anywhere."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from tests.faults.graphs import Data, mac_of
from tests.lib import residue

_serial = itertools.count(0x200)


def large_topology() -> Data:
    """Three bridges, a chain of twelve forwarders between two of them, guards and a watcher on ports, and a bridge of its own
    under XDP: 20 cubes, 6 hosts. All names are unique already."""
    tag = residue.prefix(next(_serial))
    spaces = [f"{tag}-h{number}" for number in range(1, 7)]
    links = [_wire(f"{tag}-{number}", space, f"10.9.{number // 4}.{number + 1}/24") for number, space in enumerate(spaces)]
    names = [f"{tag}-f{number}" for number in range(12)]
    left, right, far, fast = (f"{tag}-{name}" for name in ("left", "right", "far", "fast"))
    cubes: list[Data] = [
        _bridge(left, {"a": f"{tag}-0", "b": f"{tag}-1", "chain": f"{names[0]}:w"}, a=[f"{tag}-guard"], b=[f"{tag}-watch"]),
        _bridge(right, {"a": f"{tag}-2", "chain": f"{names[-1]}:e", "far": f"{far}:up"}),
        _bridge(far, {"a": f"{tag}-3", "up": f"{right}:far"}, a=[f"{tag}-guard2"]),
        _bridge(fast, {"a": f"{tag}-4", "b": f"{tag}-5"}, type="XDP_DRV"),
        {"name": f"{tag}-watch", "service-name": "transparenthelloworld"},
        {"name": f"{tag}-guard", "service-name": "ddosmitigator", "blacklist-src": [{"ip": "192.0.2.1"}]},
        {"name": f"{tag}-guard2", "service-name": "ddosmitigator"},
        {"name": f"{tag}-xguard", "service-name": "ddosmitigator", "type": "XDP_DRV", "blacklist-dst": [{"ip": "192.0.2.1"}]},
    ]
    for number, name in enumerate(names):
        west = f"{names[number - 1]}:e" if number else f"{left}:chain"
        east = f"{names[number + 1]}:w" if number < 11 else f"{right}:chain"
        cubes.append(_forwarder(name, west, east) if number % 2 else _switch(name, west, east))
    return {"apiVersion": "polycube.network/v1", "kind": "Topology", "metadata": {"name": "twenty"},
            "spec": {"namespaces": spaces, "links": links, "cubes": cubes,
                     "attachments": [{"netdev": f"{tag}-5", "tcubes": [f"{tag}-xguard"]}]}}  # fmt: skip


def _wire(name: str, space: str, address: str) -> Data:
    peer = {"name": "eth0", "netns": space, "addresses": [address], "mac": mac_of(address)}
    return {"name": name, "kind": "veth", "peer": peer}


def _bridge(name: str, peers: Mapping[str, str], type: str = "TC", **tcubes: list[str]) -> Data:
    ports = [{"name": port, "peer": peer} | ({"tcubes": tcubes[port]} if port in tcubes else {}) for port, peer in peers.items()]
    return {"name": name, "service-name": "simplebridge", "type": type, "ports": ports}


def _ports(west: str, east: str) -> list[Data]:
    return [{"name": "w", "peer": west}, {"name": "e", "peer": east}]


def _forwarder(name: str, west: str, east: str) -> Data:
    actions = [{"inport": a, "action": "FORWARD", "outport": b} for a, b in (("w", "e"), ("e", "w"))]
    return {"name": name, "service-name": "simpleforwarder", "ports": _ports(west, east), "actions": actions}


def _switch(name: str, west: str, east: str) -> Data:
    return {"name": name, "service-name": "helloworld", "ports": _ports(west, east), "action": "FORWARD"}
