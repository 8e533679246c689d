"""The lookup tables, derived from services and their backends: `services`, `members`, `rings`, `client_ranges`.

A service has a number, and so has each of its backends; both follow from addresses and ports. So an edit of one service
writes only its rows, and read-back can be compared. A collision of numbers is resolved in the order of their keys.
balancer_rows.py puts the rows of all services together.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cubes.lib import health, maglev
from cubes.lib.layout import number, pack, unpack
from reconciler.service.sdk import Env, decode, encode

ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
PROTOCOLS = {"ICMP": (ICMP,), "TCP": (TCP,), "UDP": (UDP,), "ALL": (TCP, UDP, ICMP)}
REJECTS, RANGES, ECHO = 1, 2, 4  # enum service_flags in bpf/lib/balancer.h
DRAINS = 1  # enum member_flags

Config = Mapping[str, Any]
Layouts = Mapping[str, Any]
Rows = dict[bytes, bytes]
Live = Mapping[str, Mapping[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Made:
    """What follows from one service alone, if no other one has its number."""

    name: bytes
    order: tuple[bool, bytes]  # in which services come to a number, and to echo requests
    number: int
    vip: bytes
    word: bytes  # its row in `services`
    echoes: bool  # it would have echo requests to its address
    rows: Mapping[str, Rows]  # by table; of `services` not what is for echo requests, which another one may have
    asked: frozenset[str]  # digests of backends that have a health-check


def make(service: Config, layouts: Layouts, *, number: int = 0, down: frozenset[str] = frozenset()) -> Made:
    """`number` 0: derived from its name. `down`: digests of the backends to leave out. A ring's size depends on the
    configuration only, so that it stays the same when a backend is down."""
    said = service.get("backend", ())
    size = ring_size(service)
    keys = [health_key(service, backend) for backend in said] if "health-check" in service else []
    if down:
        said = list(health.without_down(said, keys, down))
    backends = {_end(backend): backend for backend in said}
    dealt = maglev.deal({end: weight_of(backend) for end, backend in backends.items()}, size)
    vip, protocols = encode("ip", service["vip"], 16, Env()), PROTOCOLS[service["proto"]]
    name = f"{vip.hex()} {service['vport']} {service['proto']}".encode()
    own = number or maglev.number(name)
    word, ranges = struct.pack("=I", own), service.get("source-range", ())
    rejects = REJECTS if service.get("no-backend", "REJECT") == "REJECT" else 0
    flags = rejects | (RANGES if ranges else 0)
    row = pack(layouts["services"].value, number=own, size=dealt.size, affinity=service.get("affinity-timeout", 0), flags=flags)
    there = ((dealt.numbers[end], backend) for end, backend in backends.items() if not _is_down(backend))
    rows = {
        "services": {service_key(layouts, vip, service["vport"], proto): row for proto in protocols if proto != ICMP},
        "members": {word + backend: _member(said, layouts["members"].value) for backend, said in there},
        "rings": {struct.pack("=II", own, page): slots for page, slots in enumerate(dealt.pages)},
        "client_ranges": {_range_key(encode("prefix", said, 20, Env()), word): struct.pack("=I", 1) for said in ranges},
    }
    asked = frozenset(map(health.digest, keys))
    return Made(name, (protocols[0] != ICMP, name), own, vip, row, ICMP in protocols, rows, asked)


def ring_size(service: Config) -> int:
    return service.get("ring-size", 0) or maglev.size_for(shares(service))


def health_key(service: Config, backend: Config) -> bytes:
    """The key of a backend's row in `health`: struct backend_key."""
    at = encode("ip", service["vip"], 16, Env()) + _HEALTH_KEY.pack(service["vport"], _HEALTH_PROTOCOLS[service["proto"]], 0)
    return at + encode("ip", backend["ip"], 16, Env()) + struct.pack("=HH", backend["port"], 0)


_HEALTH_KEY = struct.Struct("=HBB")
_HEALTH_PROTOCOLS = {"ICMP": 1, "TCP": 6, "UDP": 17, "ALL": 255}


def _end(backend: Config) -> bytes:
    return encode("ip", backend["ip"], 16, Env()) + struct.pack("=H", backend["port"])


def _is_down(backend: Config) -> bool:
    return backend.get("state") == "DOWN"


def weight_of(backend: Config) -> int:
    return int(backend.get("weight", 1)) if backend.get("state", "ACTIVE") == "ACTIVE" else 0


def shares(service: Config) -> Sequence[int]:
    """The weights with which its backends get new flows."""
    return [weight_of(backend) for backend in service.get("backend", ())]


def _member(backend: Config, layout: Any) -> bytes:
    address = encode("ip", backend["ip"], 16, Env())
    return pack(layout, ip=address, port=backend["port"], flags=0 if weight_of(backend) else DRAINS)


def service_key(layouts: Layouts, vip: bytes, port: int, proto: int) -> bytes:
    return pack(layouts["services"].key, vip=vip, vport=port, proto=proto)


def echo_key(layouts: Layouts, vip: bytes) -> bytes:
    """Of echo requests to an address, with the number that ICMP has in its family."""
    return service_key(layouts, vip, 0, ICMP if vip.startswith(_V4_MAPPED) else ICMPV6)


_V4_MAPPED = bytes(10) + b"\xff\xff"


def _range_key(prefix: bytes, service: bytes) -> bytes:
    """`struct client_range`: the prefix behind the 32 bits of its service."""
    (length,) = struct.unpack("=I", prefix[:4])
    return struct.pack("=I", length + 32) + service + prefix[4:]


def sessions(rows: Live, env: Env, tables: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Flows whose backends are there, as entries of the models' list `session`."""
    members = rows.get("members", {})
    for key, row in sorted(rows.get("flows", {}).items()):
        flow, way = unpack(tables["flows"].value, row), unpack(tables["flows"].key, key)
        member = members.get(flow["service"] + flow["backend"])
        if member is None:
            continue
        backend = unpack(tables["members"].value, member)
        yield {
            "client": decode("ip", way["client"], env),
            "client-port": number(way["client_port"]),
            "vip": decode("ip", way["server"], env),
            "vport": number(way["server_port"]),
            "proto": number(way["proto"]),
            "backend": decode("ip", backend["ip"], env),
            "backend-port": number(backend["port"]),
            "age": decode("age", flow["seen"], env),
        }
