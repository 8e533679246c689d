"""What IPv4 packets are really sent by, read from their tree.

A tree holds no prefixes: it says of each address where it leads. So of each prefix that may have a row, because a port's address
or a route says so, the first address is looked up that no longer prefix takes; it has its row if that leads where it says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from cubes.lib.layout import number, unpack
from cubes.router.fib import CONNECTED, DISCARD, LOCAL, MAPPED, REMOTE, derive, length4
from cubes.router.tree import Tree, uncovered

Key = tuple[int, bytes]
ON_LINK = MAPPED + bytes(4)  # the next hop of a route that has none


def fib4_of(ports: Iterable[Mapping[str, Any]], routes: Iterable[bytes], tree: Tree, table: Any) -> Iterator[tuple[Key, bytes]]:
    """Prefixes (length, address), each with its way, in order. `routes`: the keys of that table; `table`: the layout of ways."""
    own: dict[Key, int] = {}
    for network, row in derive({"ports": list(ports)}).rows.items():
        if (length := length4(network)) is not None:
            own[length, network[16:]] = row.kind
    hops: dict[Key, set[bytes]] = {}
    for key in routes:
        if (length := length4(key)) is not None:
            hops.setdefault((length, key[16:20]), set()).add(key[20:])
    for prefix, address in sorted(uncovered({*own, *hops})):
        way = tree.find(address)
        if way is not None and _leads_there(unpack(table.value, way), prefix, own.get(prefix), hops.get(prefix, ())):
            yield prefix, way


def _leads_there(way: Mapping[str, bytes], prefix: Key, own: int | None, hops: Iterable[bytes]) -> bool:
    kind, via = number(way["kind"]), way["via"]
    if kind == REMOTE:
        return via in hops
    if kind == CONNECTED and ON_LINK in hops:
        return True
    length, address = prefix
    inside = via.startswith(MAPPED) and not (int.from_bytes(via[12:], "big") ^ int.from_bytes(address, "big")) >> 32 - length
    return kind == own and (kind == DISCARD or (kind in (LOCAL, CONNECTED) and inside))
