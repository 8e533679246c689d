"""Routes as prefixes for the trees, and as rows of the other tables.

Pure, and done once per apply, which needs it several times.
"""

from __future__ import annotations

import functools
import operator
import struct
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cubes.lib.layout import index, number, pack
from cubes.router.fib import DISCARD, LOCAL, Fib, Route, Row, length4, routes, wide
from cubes.router.numbers import Prefix
from reconciler.service.sdk import Env, Owned, TableRows

ARRAYS = ("ports", "martian_filter")
LAYOUTS = ("routes", "fib4_ways")  # whose C structs are filled here


@dataclass(frozen=True, slots=True)
class Made:
    """The result of a routing table: IPv4 and IPv6 prefixes for their trees, and rows of the other tables."""

    fib: Fib
    ports: Mapping[str, int]
    tables: Mapping[str, Any]
    four: list[Prefix]
    six: list[Prefix]
    rows: dict[str, TableRows]


_MADE: Owned[deque[Made]] = Owned(lambda: deque(maxlen=4))


def made_of(fib: Fib, config: Mapping[str, Any], env: Env, tables: Mapping[str, Any]) -> Made:
    """Memoised for the last few calls by `fib`, since an apply needs it several times."""
    known = _MADE()
    for made in tuple(known):
        if made.fib is fib and made.ports == env.ports and all(made.tables[name] is tables[name] for name in LAYOUTS):
            return made
    four, six, found = _fib_rows(fib, env, tables)
    found["routes"] = _route_rows(routes(config), fib, env, tables["routes"])
    martians = [*found["martians4"], *found["martians6"]]
    found["martian_filter"] = {index(0): _filter(martians)} if martians else {}
    rows = {name: table_rows(each, tables[name], name in ARRAYS) for name, each in found.items()}
    known.append(made := Made(fib, dict(env.ports), tables, four, six, rows))
    return made


def table_rows(rows: Mapping[bytes, bytes], table: Any, sparse: bool) -> TableRows:
    return TableRows(rows, b"\xff" * table.value.size, sparse)


def _route_rows(known: Iterable[Route], fib: Fib, env: Env, table: Any) -> dict[bytes, bytes]:
    """Of 100,000 routes few have different values, so each value is packed once. A key is the network, then the next hop."""
    words: dict[tuple[int, str | None, bool], bytes] = {}
    found = {}
    for route, active in zip(known, fib.active, strict=True):
        said = route.pathcost, route.interface, active
        if said not in words:
            port = env.ports[route.interface] + 1 if route.interface is not None else 0
            words[said] = pack(table.value, pathcost=route.pathcost, interface=port, active=int(active))
        found[route.network + route.wide] = words[said]
    return found


def _fib_rows(fib: Fib, env: Env, tables: Mapping[str, Any]) -> tuple[list[Prefix], list[Prefix], dict[str, dict[bytes, bytes]]]:
    """The IPv4 and IPv6 prefixes to forward by, for their trees; and the martian source addresses."""
    four: list[Prefix] = []
    six: list[Prefix] = []
    martians: dict[str, dict[bytes, bytes]] = {"martians4": {}, "martians6": {}}
    made: dict[Row, bytes] = {}
    for network, row in fib.rows.items():
        way = made.get(row)
        if way is None:
            way = made[row] = pack(tables["fib4_ways"].value, kind=row.kind, port=env.ports[row.port], via=wide(row.via))
        length = length4(network)
        if length is not None:
            four.append((length, network[16:], way))
        else:
            six.append((number(network[:4]), network[4:], way))
        if row.kind in (LOCAL, DISCARD):
            family, address = ("martians6", network[4:]) if length is None else ("martians4", network[16:])
            martians[family][address] = index(row.kind)
    return four, six, martians


def _filter(addresses: Iterable[bytes]) -> bytes:
    """`struct martian_filter`: a bit for each address, by the hash of `may_be_martian` in bpf/router/router.h."""
    words = [0] * 64
    for address in addresses:
        folded = functools.reduce(operator.xor, memoryview(address).cast("I"))
        bit = (folded * 0x9E3779B1 & 0xFFFFFFFF) >> 21
        words[bit >> 5] |= 1 << (bit & 31)
    return struct.pack("=64I", *words)
