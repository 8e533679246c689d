"""The effective routes, read back from the trees.

A tree stores no prefixes: it maps each address to its route. So for each prefix that may have a row, because of a port's
address or a configured route, the first address is looked up that no longer prefix covers; the prefix has its row if the
result matches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from cubes.lib.layout import number, unpack
from cubes.router.fib import CONNECTED, DISCARD, LOCAL, MAPPED, REMOTE, derive, length4
from cubes.router.numbers import uncovered

Key = tuple[int, bytes]
"""Length and address as the kernel has them: 16 bytes, and IPv4's lengths begin at 96."""
ON_LINK = {4: MAPPED + bytes(4), 6: bytes(16)}  # the next hop of a route that has none
Find = Callable[[bytes], bytes | None]


def fib_of(
    version: int, ports: Iterable[Mapping[str, Any]], routes: Iterable[bytes], find: Find, table: Any
) -> Iterator[tuple[Key, bytes]]:
    """Prefixes of a family, each with its next hop, in order. `routes`: the keys of that table; `find`: look-up of an address
    of 16 bytes in a tree; `table`: the layout of next hops."""
    own: dict[Key, int] = {}
    for network, row in derive({"ports": list(ports)}).rows.items():
        if _version(network) == version:
            own[number(network[:4]), network[4:]] = row.kind
    hops: dict[Key, set[bytes]] = {}
    for key in routes:
        if _version(key) == version:
            hops.setdefault((number(key[:4]), key[4:20]), set()).add(key[20:])
    for prefix, address in sorted(uncovered({*own, *hops})):
        way = find(address)
        said = hops.get(prefix, ())
        if way is not None and _leads_there(unpack(table.value, way), prefix, own.get(prefix), said, ON_LINK[version] in said):
            yield prefix, way


def _version(network: bytes) -> int:
    return 6 if length4(network) is None else 4


def _leads_there(way: Mapping[str, bytes], prefix: Key, own: int | None, hops: Iterable[bytes], on_link: bool) -> bool:
    kind, via = number(way["kind"]), way["via"]
    if kind == REMOTE:
        return via in hops
    if kind == CONNECTED and on_link:
        return True
    length, address = prefix
    inside = not (int.from_bytes(via, "big") ^ int.from_bytes(address, "big")) >> 128 - length
    return kind == own and (kind == DISCARD or (kind in (LOCAL, CONNECTED) and inside))
