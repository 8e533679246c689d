"""Topologies to break: the examples, as data.

Names in an example are the ones a reader likes (h1, veth1); `unique` gives all of them a prefix of this process, so that
tests can run side by side with whatever else there is on the machine.
"""

from __future__ import annotations

import ipaddress
import itertools
import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconciler.document import Document
from reconciler.document.load import load, parse
from tests.lib import residue
from tests.lib.fusion import as_chosen
from tests.lib.packets import ping

TOPOLOGIES = Path(__file__).resolve().parents[2] / "examples" / "topologies"
EXAMPLES = sorted(path.stem for path in TOPOLOGIES.glob("*.yaml"))

_serial = itertools.count(1)

Data = dict[str, Any]


def example(name: str) -> Data:
    """An example as plain data, to be edited at will."""
    (document,) = load([str(TOPOLOGIES / f"{name}.yaml")])
    return deepcopy(document.data)


def unique(data: Data) -> Data:
    """A copy in which every name that is known host-wide is of this process alone. Hosts get MACs, so that they keep them
    when their link is made anew: their neighbours would ask for a new one only after a while."""
    tag = residue.prefix(next(_serial))
    spec = data["spec"]
    netdevs = [end["name"] for link in spec.get("links", ()) for end in (link, link.get("peer", {})) if end and "netns" not in end]
    new = {name: f"{tag}-{number}" for number, name in enumerate(netdevs)}
    new |= {name: f"{tag}-{name}" for name in spec.get("namespaces", ())}
    cubes = {cube["name"]: f"{tag}-{cube['name']}" for cube in spec.get("cubes", ())}
    return _renamed(data, Naming(new, cubes))


@dataclass(frozen=True)
class Naming:
    """New names of netdevs and namespaces, and of cubes."""

    network: Mapping[str, str]
    cubes: Mapping[str, str]

    def peer(self, peer: str) -> str:
        cube, colon, port = peer.partition(":")
        return f"{self.cubes[cube]}:{port}" if colon else self.network.get(peer, peer)


def _renamed(data: Data, new: Naming) -> Data:
    data = deepcopy(data)
    spec = data["spec"]
    spec["namespaces"] = [new.network[name] for name in spec.get("namespaces", ())]
    for link in spec.get("links", ()):
        for end in (link, link.get("peer", {})):
            if "netns" in end:
                end["netns"] = new.network.get(end["netns"], end["netns"])
                end.setdefault("mac", mac_of(end["addresses"][0]))
            elif end:
                end["name"] = new.network[end["name"]]
    for cube in spec.get("cubes", ()):
        cube["name"] = new.cubes[cube["name"]]
        for port in cube.get("ports", ()):
            if "peer" in port:
                port["peer"] = new.peer(port["peer"])
            if "tcubes" in port:
                port["tcubes"] = [new.cubes[name] for name in port["tcubes"]]
    for attachment in spec.get("attachments", ()):
        if "netdevs" in attachment:
            attachment["netdevs"] = " ".join(new.network.get(word, word) for word in attachment["netdevs"].split())
        else:
            attachment["netdev"] = new.network.get(attachment["netdev"], attachment["netdev"])
        attachment["tcubes"] = [new.cubes[name] for name in attachment["tcubes"]]
    return data


def mac_of(address: str) -> str:
    return "02:00:" + ":".join(f"{int(part):02x}" for part in address.partition("/")[0].split("."))


def documents(*wanted: Data) -> list[Document]:
    return [document for number, data in enumerate(wanted) for document in parse(as_text(data), f"topology {number}")]


def as_text(data: Data) -> str:
    """A topology as a file of it."""
    return json.dumps({**data, "spec": as_chosen(data["spec"])})


def cube(data: Data, name: str) -> Data:
    """A cube of a topology by the end of its name, which `unique` has lengthened."""
    return next(cube for cube in data["spec"]["cubes"] if cube["name"] == name or cube["name"].endswith(f"-{name}"))


@dataclass(frozen=True)
class Host:
    netns: str
    address: str

    @property
    def ip(self) -> str:
        return self.address.partition("/")[0]

    @property
    def subnet(self) -> Any:
        return ipaddress.ip_interface(self.address).network


def hosts(data: Data) -> list[Host]:
    """Every end of a veth that is in a namespace and has an address."""
    found = []
    for link in data["spec"].get("links", ()):
        for end in (link, link.get("peer", {})):
            if "netns" in end and end.get("addresses"):
                found.append(Host(end["netns"], end["addresses"][0]))
    return found


def talking(data: Data) -> list[tuple[Host, Host]]:
    """Pairs of hosts of which the first is to reach the second: all in one subnet, none of them on the topology's own
    blacklist. (From subnet to subnet a router's slow path is needed, which is not what is tested here.)"""
    barred = {entry["ip"] for cube in data["spec"].get("cubes", ()) for entry in cube.get("blacklist-src", ())}
    free = [host for host in hosts(data) if host.ip not in barred]
    return [(a, b) for a, b in itertools.permutations(free, 2) if a.subnet == b.subnet]


def unreachable(data: Data, *, timeout: float = 2.0) -> list[str]:
    """The pairs that should talk to each other and do not."""
    return [f"{a.netns} -> {b.ip}" for a, b in talking(data) if not ping(a.netns, b.ip, 1, timeout=timeout)]
