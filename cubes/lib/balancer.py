"""What packets are sent by, as it follows from services and their backends: `services`, `members`, `rings`, `client_ranges`.

A service has a number, and so has each of its backends; both follow from addresses and ports. So an edit of one service writes
rows of that one, and what is read back can be compared. Two that would have one number are told apart in the order of their keys.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cubes.lib import health, maglev
from cubes.lib.layout import number, pack, unpack
from reconciler.service.sdk import EntryMemo, Env, decode, encode

ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
PROTOCOLS = {"ICMP": (ICMP,), "TCP": (TCP,), "UDP": (UDP,), "ALL": (TCP, UDP, ICMP)}
REJECTS, RANGES, ECHO = 1, 2, 4  # enum service_flags in bpf/lib/balancer.h
DRAINS = 1  # enum member_flags

Config = Mapping[str, Any]
Rows = dict[bytes, bytes]
Live = Mapping[str, Mapping[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Made:
    """What follows from one service alone. Its number is still open, since another one could have it."""

    keys: tuple[tuple[str, int, int], ...]  # (vip, port, IP's number of the protocol)
    name: bytes
    size: int
    affinity: int
    flags: int
    members: tuple[tuple[bytes, bytes], ...]  # (number, row)
    pages: tuple[bytes, ...]
    ranges: tuple[bytes, ...]  # (length, address), as `encode` has prefixes


_SERVICES: EntryMemo[Made] = EntryMemo()


def derive(config: Config, tables: Mapping[str, Any], down: frozenset[str] = frozenset()) -> dict[str, Rows]:
    """`down`: the backends of services with a health-check that are to be left out (lib/health.py)."""
    member = tables["members"].value
    services = config.get("service", ())
    made: Sequence[Made] = _SERVICES.each(services, lambda _, service: _make(service, member))
    if down:
        made = [_without(service, made[place], down, member) for place, service in enumerate(services)]
    found: dict[str, Rows] = {"services": {}, "members": {}, "rings": {}, "client_ranges": {}}
    taken: set[int] = set()
    vips: dict[str, None] = {}
    for service in sorted(made, key=lambda each: (each.keys[0][2] != ICMP, each.name)):
        own = maglev.number(service.name, taken)
        taken.add(own)
        word = struct.pack("=I", own)
        row = pack(tables["services"].value, number=own, size=service.size, affinity=service.affinity, flags=service.flags)
        for vip, port, proto in service.keys:
            found["services"].setdefault(_service_key(tables, vip, port, proto), row)
            vips[vip] = None
        found["members"].update((word + backend, member_row) for backend, member_row in service.members)
        found["rings"].update((struct.pack("=II", own, page), slots) for page, slots in enumerate(service.pages))
        found["client_ranges"].update((_range_key(prefix, word), struct.pack("=I", 1)) for prefix in service.ranges)
    answers = pack(tables["services"].value, flags=ECHO)
    for vip in vips:
        found["services"].setdefault(_service_key(tables, vip, 0, ICMP), answers)
    return found


_LEFT_OUT: dict[bytes, tuple[Config, frozenset[str], Made]] = {}  # by the service's name
_MOST_LEFT_OUT = 1024  # services that are remembered


def _without(service: Config, whole: Made, down: frozenset[str], layout: Any) -> Made:
    """What follows from a service when some of its backends are left out; remembered, since a long ring takes a while."""
    if "health-check" not in service:
        return whole
    own = down.intersection(health.digest(health_key(service, backend)) for backend in service.get("backend", ()))
    if not own:
        return whole
    known = _LEFT_OUT.get(whole.name)
    if known is not None and known[0] is service and known[1] == own:
        return known[2]
    if len(_LEFT_OUT) >= _MOST_LEFT_OUT:
        _LEFT_OUT.clear()
    made = _make(service, layout, own)
    _LEFT_OUT[whole.name] = service, own, made
    return made


def health_key(service: Config, backend: Config) -> bytes:
    """The key of a backend's row in `health`: struct backend_key."""
    at = encode("ip", service["vip"], 16, Env()) + _HEALTH_KEY.pack(service["vport"], _HEALTH_PROTOCOLS[service["proto"]], 0)
    return at + encode("ip", backend["ip"], 16, Env()) + struct.pack("=HH", backend["port"], 0)


_HEALTH_KEY = struct.Struct("=HBB")
_HEALTH_PROTOCOLS = {"ICMP": 1, "TCP": 6, "UDP": 17, "ALL": 255}


def _make(service: Config, layout: Any, down: frozenset[str] = frozenset()) -> Made:
    """A ring's size follows from what is configured, so that it stays the same when a backend is left out."""
    said = service.get("backend", ())
    size = service.get("ring-size", 0) or maglev.size_for(map(_weight, said))
    if down:
        said = list(health.without_down(said, (health_key(service, backend) for backend in said), down))
    backends = {_end(backend): backend for backend in said}
    dealt = maglev.deal({end: _weight(backend) for end, backend in backends.items()}, size)
    rejects = REJECTS if service.get("no-backend", "REJECT") == "REJECT" else 0
    ranges = service.get("source-range", ())
    return Made(
        tuple(_keys(service)),
        f"{encode('ip', service['vip'], 16, Env()).hex()} {service['vport']} {service['proto']}".encode(),
        dealt.size,
        service.get("affinity-timeout", 0),
        rejects | (RANGES if ranges else 0),
        tuple((dealt.numbers[end], _member(backend, layout)) for end, backend in backends.items() if not _is_down(backend)),
        dealt.pages,
        tuple(encode("prefix", said, 20, Env()) for said in ranges),
    )


def _keys(service: Config) -> Iterator[tuple[str, int, int]]:
    for proto in PROTOCOLS[service["proto"]]:
        yield service["vip"], 0 if proto == ICMP else service["vport"], proto


def _end(backend: Config) -> bytes:
    return encode("ip", backend["ip"], 16, Env()) + struct.pack("=H", backend["port"])


def _is_down(backend: Config) -> bool:
    return backend.get("state") == "DOWN"


def _weight(backend: Config) -> int:
    return int(backend.get("weight", 1)) if backend.get("state", "ACTIVE") == "ACTIVE" else 0


def _member(backend: Config, layout: Any) -> bytes:
    address = encode("ip", backend["ip"], 16, Env())
    return pack(layout, ip=address, port=backend["port"], flags=0 if _weight(backend) else DRAINS)


def _service_key(tables: Mapping[str, Any], vip: str, port: int, proto: int) -> bytes:
    """With the number that the protocol has in the address's family."""
    own = ICMPV6 if proto == ICMP and ":" in vip else proto
    return pack(tables["services"].key, vip=encode("ip", vip, 16, Env()), vport=port, proto=own)


def _range_key(prefix: bytes, service: bytes) -> bytes:
    """`struct client_range`: the prefix behind the 32 bits of its service."""
    (length,) = struct.unpack("=I", prefix[:4])
    return struct.pack("=I", length + 32) + service + prefix[4:]


def shares(service: Config) -> Sequence[int]:
    """The weights with which its backends get new flows."""
    return [_weight(backend) for backend in service.get("backend", ())]


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
