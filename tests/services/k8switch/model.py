"""What a switch makes of packets, written again without an eye on its C: flows, rings, virtual clients, and where each thing goes.

    model = Model(config); model.sent("p1", fields)      the fields of what goes out and where to: (port, MAC, fields), "reject" or None
"""
from __future__ import annotations

import ipaddress
import struct
from collections.abc import Mapping
from typing import Any

from cubes.lib import maglev
from tests.lib.flow_frames import ICMP, ICMPV6, TCP, UDP, Fields, packed

NUMBERS = {"TCP": TCP, "UDP": UDP}
LEAVES = {4: ("cluster-ip-subnet", "client-subnet", "virtual-client-subnet"), 6: ("cluster-ipv6-subnet", "client-ipv6-subnet", "virtual-client-ipv6-subnet")}
End = tuple[str, int]
Flow = tuple[int, str, int, str, int]  # protocol, client and port, server and port


def wide(text: str) -> bytes:
    raw = packed(text)
    return raw if len(raw) == 16 else bytes(10) + b"\xff\xff" + raw


class Model:
    def __init__(self, config: Mapping[str, Any]) -> None:
        self.services: dict[tuple[str, int, int], list[End]] = {
            (each["vip"], each["vport"], NUMBERS[each["proto"]]): [(one["ip"], one["port"]) for one in each["backend"]] for each in config["service"]
        }
        self.vips = {vip for vip, _, _ in self.services}
        self.routes = [(ipaddress.ip_network(each["address"]), each["port"], each["mac"]) for each in config["fwd-table"]]
        self.networks = {family: [ipaddress.ip_network(config[leaf]) for leaf in leaves] for family, leaves in LEAVES.items()}
        self.rings = {key: self._ring(ends) for key, ends in self.services.items() if ends}
        self.flows: dict[Flow, tuple[End, str]] = {}  # the backend, and the client's address there
        self.replies: dict[Flow, Flow] = {}
        self.outsiders: set[str] = set()

    def _ring(self, ends: list[End]) -> list[bytes]:
        weights = {wide(ip) + struct.pack("=H", port): 1 for ip, port in ends}
        return maglev.ring(maglev.size_for(weights.values()), weights)

    def _is(self, family: int, which: int, address: str) -> bool:
        return ipaddress.ip_address(address) in self.networks[family][which]

    def sent(self, port: str, said: Fields) -> tuple[str, str, Fields] | str | None:
        done = self._to_service(port, said) if said.dst in self.vips or self._is(said.family, 0, said.dst) else None
        if isinstance(done, str):
            return done or None
        if done is not None:
            return self._leave(port, done, translated=True)
        answered = self.replies.get((said.proto, said.dst, said.dport, said.src, said.sport)) if said.proto in (TCP, UDP) else None
        if answered is not None:
            _, client, client_port, vip, vport = answered
            return self._leave(port, said._replace(src=vip, sport=vport, dst=client, dport=client_port), translated=True, to_client=True)
        if self._is(said.family, 2, said.dst):
            return None
        return self._leave(port, said, translated=False)

    def _to_service(self, port: str, said: Fields) -> Fields | str | None:
        """What goes to a backend; "reject", "" for what is dropped; None: it is for no service."""
        mine = self._is(said.family, 0, said.dst)
        nothing = "reject" if mine else None
        if said.proto in (ICMP, ICMPV6):
            return "echo" if mine and said.dst in self.vips and said.dport in (8, 128) else nothing
        key = (said.dst, said.dport, said.proto)
        if key not in self.services:
            return nothing
        if key not in self.rings:
            return "reject"
        flow = (said.proto, said.src, said.sport, said.dst, said.dport)
        if flow not in self.flows and not self._begin(said.family, flow, key):
            return ""
        (ip, backend_port), known_as = self.flows[flow]
        if port == "outside":
            self.outsiders.add(said.src)
        return said._replace(src=known_as, dst=ip, dport=backend_port)

    def _begin(self, family: int, flow: Flow, key: tuple[str, int, int]) -> bool:
        proto, client, client_port, vip, vport = flow
        found = maglev.murmur3(wide(client) + wide(vip) + struct.pack("=HHB3x", client_port, vport, proto))
        ring = self.rings[key]
        for _ in range(4):
            name = ring[maglev.slot_of(found, len(ring))]
            found = (found * 5 + 0xE6546B64) & 0xFFFFFFFF
            address = ipaddress.ip_address(name[:16])
            mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
            end = (str(mapped or address), struct.unpack("=H", name[16:])[0])
            known_as = self._known_as(family, client, end[0], found)
            way = (proto, known_as, client_port, *end)
            if self.replies.setdefault(way, flow) == flow:
                self.flows[flow] = (end, known_as)
                return True
        return False

    def _known_as(self, family: int, client: str, backend: str, found: int) -> str:
        virtual = self.networks[family][2]
        if client == backend:
            return str(virtual[int(ipaddress.ip_address(client)) & int(virtual.hostmask)])
        if self._is(family, 1, client) or self._is(family, 1, backend):
            return client
        hosts = min(virtual.num_addresses, 1 << 31) - 3
        return str(virtual[2 + ((found * 0x9E3779B1 & 0xFFFFFFFF) * hosts >> 32)])

    def _leave(self, port: str, said: Fields, *, translated: bool, to_client: bool = False) -> tuple[str, str, Fields] | None:
        if to_client and said.dst in self.outsiders:
            return "outside", "", said
        address = ipaddress.ip_address(said.dst)
        there = [route for route in self.routes if address in route[0]]
        if address.is_multicast or not there:
            return None
        _, out, mac = max(there, key=lambda route: route[0].prefixlen)
        return None if out == port and not translated else (out, mac, said)
