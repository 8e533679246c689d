"""Bridges and their hosts, written down shortly.

    vlan_lab({"br1": {"h1": 10, "h2": 10, "to2": ([10, 20], "br2:to1")}, ...}, hook="TC")

A port is named by its host, and has an access VLAN; or it is a trunk: (allowed VLANs, peer).
"""
from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.lib.lab import Lab, port_of

Said = int | tuple[list[int], str]


def port(name: str, said: Said) -> dict[str, Any]:
    if isinstance(said, int):
        return {"name": name, "peer": port_of(name), "access": {"vlanid": said}}
    allowed, peer = said
    return {"name": name, "peer": peer, "mode": "trunk", "trunk": {"allowed": [{"vlanid": vlan} for vlan in allowed]}}


def vlan_lab(bridges: Mapping[str, Mapping[str, Said]], *, links: int = 0, hook: str = "TC") -> Lab:
    """`links`: so many wires between bridges, link11 to link12 and so on, as veths."""
    hosts = [name for ports in bridges.values() for name, said in ports.items() if isinstance(said, int)]
    spec = {
        "hosts": {host: address(host) + "/24" for host in hosts},
        "links": [{"name": f"link{number}1", "kind": "veth", "peer": {"name": f"link{number}2"}} for number in range(1, links + 1)],
        "cubes": [{"name": name, "service-name": "bridge", "ports": [port(*each) for each in ports.items()]} for name, ports in bridges.items()],
    }
    return Lab(json.dumps(spec), hook=hook)


def address(host: str) -> str:
    return f"10.0.0.{host[1:]}"


def wrong(lab: Lab, together: list[set[str]], hosts: list[str]) -> list[str]:
    """Pairs of hosts of which the first reaches the second, or does not, where it is otherwise wanted; hosts in one set reach each other."""
    found = []
    for a in hosts:
        for b in hosts:
            wanted = any({a, b} <= group for group in together)
            if a != b and not (lab.ok(a, address(b)) if wanted else lab.fails(a, address(b), 1)):
                found.append(f"{a} {'does not reach' if wanted else 'reaches'} {b}")
    return found
