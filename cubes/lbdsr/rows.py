"""What packets are sent by, as it follows from virtual addresses and their pools: `services`, `members`, `rings`.

A backend is identified by its MAC address and its tunnel's end, so that its number stays when its id is another one. Two of a
pool that have both in common are one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cubes.lib import health, maglev
from cubes.lib.layout import pack
from reconciler.service.sdk import Env, encode

MODES = {"L2": 0, "IPIP": 1, "GUE": 2}  # enum mode in bpf/lbdsr/lbdsr.h
STATES = {"ACTIVE": 0, "DRAINING": 1, "DOWN": 2}
DRAINS, IPV6 = 1, 2  # enum member_flags
NO_VIP = bytes(16)  # of the pool in `backend`, whatever frontend/vip is

Config = Mapping[str, Any]
Rows = dict[bytes, bytes]


def pools(config: Config) -> Iterator[tuple[bytes, str | None, Sequence[Config]]]:
    """Each pool with its key, and its virtual address if it has one."""
    yield NO_VIP, config.get("frontend", {}).get("vip"), config.get("backend", {}).get("pool", ())
    for service in config.get("service", ()):
        yield encode("ip", service["vip"], 16, Env()), service["vip"], service.get("pool", ())


def checked(config: Config) -> Iterator[tuple[bytes, str, Config, Config]]:
    """(key of its pool, virtual address, the pool's health-check, backend) of each backend with a health check."""
    parts = [(NO_VIP, config.get("frontend", {}).get("vip", ""), config.get("backend", {}))]
    parts += [(encode("ip", service["vip"], 16, Env()), service["vip"], service) for service in config.get("service", ())]
    for key, vip, part in parts:
        for entry in part.get("pool", ()) if "health-check" in part and vip else ():
            yield key, vip, part["health-check"], entry


def health_key(pool: bytes, entry: Config) -> bytes:
    """The key of a backend's row in `health`: struct pool_key."""
    return pool + struct.pack("=I", entry["id"])


def _left_out(config: Config, down: frozenset[str]) -> dict[bytes, list[Config]]:
    """The pools that have backends which are to be omitted, by key; these as if they were DOWN."""
    pools: dict[bytes, list[tuple[bytes, Config]]] = {}
    for pool, _, _, entry in checked(config) if down else ():
        pools.setdefault(pool, []).append((health_key(pool, entry), entry))
    return {pool: list(health.without_down([e for _, e in each], [key for key, _ in each], down)) for pool, each in pools.items()}


def derive(config: Config, tables: Mapping[str, Any], down: frozenset[str] = frozenset()) -> dict[str, Rows]:
    """`down`: the backends of pools with a health-check that are to be omitted (lib/health.py). A ring's size follows from what
    is configured, so that it stays the same then."""
    found: dict[str, Rows] = {"services": {}, "members": {}, "rings": {}}
    taken: set[int] = set()
    left_out = _left_out(config, down)
    named = {encode("ip", vip, 16, Env()): (key, entries) for key, vip, entries in pools(config) if vip is not None}
    for vip, (key, entries) in sorted(named.items()):
        size = maglev.size_for(map(weight_of, entries))
        number = maglev.number(vip, taken)
        taken.add(number)
        backends = {_name(entry): entry for entry in left_out.get(key, entries)}
        dealt = maglev.deal({name: weight_of(entry) for name, entry in backends.items()}, size)
        found["services"][vip] = pack(tables["services"].value, number=number, size=dealt.size)
        found["rings"].update((struct.pack("=II", number, page), slots) for page, slots in enumerate(dealt.pages))
        found["members"].update(
            (struct.pack("=I", number) + dealt.numbers[name], _member(entry, tables["members"].value))
            for name, entry in backends.items()
            if entry.get("state") != "DOWN"
        )
    return found


def _name(entry: Config) -> bytes:
    """Without the mode: a backend that is reached by another encapsulation is the same one."""
    address = encode("ip", entry["ip"], 16, Env()) if "ip" in entry else bytes(16)
    return encode("mac", entry["mac"], 6, Env()) + address


def weight_of(entry: Config) -> int:
    """The weight with which it gets new flows."""
    return int(entry.get("weight", 1)) if entry.get("state", "ACTIVE") == "ACTIVE" else 0


def _member(entry: Config, layout: Any) -> bytes:
    address = entry.get("ip", "")
    flags = (0 if weight_of(entry) else DRAINS) | (IPV6 if ":" in address else 0)
    return pack(
        layout,
        mac=encode("mac", entry["mac"], 6, Env()),
        mode=MODES[entry.get("mode", "L2")],
        flags=flags,
        ip=encode("ip", address, 16, Env()) if address else bytes(16),
    )
