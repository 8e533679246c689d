"""Documents of many cubes or many rows, and where in the kernel their one edit is to be seen."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from reconciler.kernel import maps
from reconciler.kernel.bpffs import Bpffs

_HEAD = "apiVersion: polycube.network/v1\nkind: Topology\nmetadata: {name: bench}\nspec:\n  cubes:\n"


def ring(count: int, *, dropping: bool = False) -> str:
    """So many forwarders in a ring, without netdevs: programs, maps and pins. `dropping`: the one edit, in the middle."""
    return _HEAD + "".join(_forwarder(number, count, dropping and number == count // 2) for number in range(count))


def _forwarder(number: int, count: int, drops: bool) -> str:
    first = "action: DROP" if drops else "action: FORWARD, outport: b"
    return (
        f"  - name: c{number}\n    service-name: simpleforwarder\n    loglevel: 'OFF'\n    ports:\n"
        f"    - {{name: a, peer: 'c{(number - 1) % count}:b'}}\n    - {{name: b, peer: 'c{(number + 1) % count}:a'}}\n"
        f"    actions:\n    - {{inport: a, {first}}}\n    - {{inport: b, action: FORWARD, outport: a}}\n"
    )


def lists(rows: int, *, longer: bool = False) -> str:
    """Two blacklists with so many rows between them. `longer`: the one edit, an address more."""
    addresses = [f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}" for number in range(rows // 2)]
    source = [*addresses[: rows // 4], *(["10.99.0.1"] if longer else []), *addresses[rows // 4 :]]
    both = (("src", source), ("dst", addresses))
    listed = "".join(f"    blacklist-{side}:\n" + "".join(f"    - {{ip: {ip}}}\n" for ip in each) for side, each in both)
    return f"{_HEAD}  - name: guard\n    service-name: ddosmitigator\n{listed}"


def rules(count: int, *, longer: bool = False) -> str:
    """A firewall with so many rules. `longer`: the one edit, a rule more in the middle."""
    addresses = [f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}" for number in range(count)]
    lines = [_rule(10 * number, source, "TCP", number % 50_000 + 1) for number, source in enumerate(addresses)]
    if longer:
        lines.insert(count // 2, _rule(10 * (count // 2) - 5, "172.16.0.1", "UDP", 7))
    head = "  - name: fw\n    service-name: firewall\n    loglevel: 'OFF'\n    chain:\n    - name: INGRESS\n      rule:\n"
    return f"{_HEAD}{head}{''.join(lines)}"


def address_set(entries: int, *, longer: bool = False) -> str:
    """A firewall with a set of so many addresses. `longer`: the one edit, an address more in the middle."""
    addresses = [f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}" for number in range(entries)]
    if longer:
        addresses.insert(entries // 2, "10.99.0.1")
    head = "  - name: fw\n    service-name: firewall\n    loglevel: 'OFF'\n"
    chain = "    chain:\n    - name: INGRESS\n      rule:\n      - {id: 10, src-set: refused, action: DROP}\n"
    return f"{_HEAD}{head}{chain}    set:\n    - name: refused\n      prefix:\n" + "".join(f"      - {ip}\n" for ip in addresses)


def routes(count: int, *, longer: bool = False) -> str:
    """A router with so many routes of 24 bits. `longer`: the one edit, a route more."""
    networks = (f"{20 + (number >> 16)}.{number >> 8 & 255}.{number & 255}.0/24" for number in range(count))
    lines = [f"    - {{network: {network}, nexthop: 192.0.2.{2 + number % 9}}}\n" for number, network in enumerate(networks)]
    if longer:
        lines.insert(count // 2, "    - {network: 203.0.113.0/24, nexthop: 192.0.2.9}\n")
    head = "  - name: gw\n    service-name: router\n    loglevel: 'OFF'\n    ports:\n    - {name: p, ip: 192.0.2.1/24}\n"
    return f"{_HEAD}{head}    route:\n{''.join(lines)}"


def _rule(number: int, source: str, protocol: str, port: int) -> str:
    return f"      - {{id: {number}, src: {source}, l4proto: {protocol}, dport: {port}, action: DROP}}\n"


@dataclass
class Watched:
    """One row of a table: whether the edit is in it."""

    root: str
    table: str
    key: bytes
    value: bytes | None  # None: any

    @contextlib.contextmanager
    def opened(self) -> Iterator[Watched]:
        with Bpffs(self.root).opened(self.table) as self._fd:
            self._spec = maps.info(self._fd).spec
            yield self

    def seen(self) -> bool:
        found = maps.lookup(self._fd, self._spec, self.key)
        return found is not None and (self.value is None or found == self.value)


@dataclass
class WatchedBit(Watched):
    """The last bit of a row, which each edit turns over."""

    @contextlib.contextmanager
    def opened(self) -> Iterator[Watched]:
        with super().opened():
            self._before = self._bit()
            yield self

    def _bit(self) -> int:
        found = maps.lookup(self._fd, self._spec, self.key)
        return found[0] & 1 if found else 0

    def seen(self) -> bool:
        return self._bit() != self._before


def of_ring(root: str, count: int) -> Watched:
    """Port a of the cube in the middle drops (1)."""
    return Watched(root, f"cubes/c{count // 2}/tables/actions", bytes(4), struct.pack("<HH", 1, 0))


def of_lists(root: str) -> Watched:
    key = bytes(10) + b"\xff\xff" + bytes((10, 99, 0, 1))
    return Watched(root, "cubes/guard/tables/srcblacklist", key, None)


def of_address_set(root: str) -> Watched:
    return Watched(root, "cubes/fw/tables/set_hosts", bytes(10) + b"\xff\xff" + bytes((10, 99, 0, 1)), None)


def of_routes(root: str) -> Watched:
    mapped = bytes(10) + b"\xff\xff"
    key = struct.pack("=I", 96 + 24) + mapped + bytes((203, 0, 113, 0)) + mapped + bytes((192, 0, 2, 9))
    return Watched(root, "cubes/gw/tables/routes", key, None)


def of_rules(root: str) -> Watched:
    """The epoch, by whose last bit packets find their lists."""
    return WatchedBit(root, "cubes/fw/tables/epoch", bytes(4), None)


def save(path: str, text: str) -> None:
    """As an editor does: a new file, renamed over the old one."""
    write_draft(path, text)
    put_in_place(path)


def write_draft(path: str, text: str) -> None:
    with open(_draft_of(path), "w", encoding="utf-8") as file:
        file.write(text)


def put_in_place(path: str) -> None:
    os.rename(_draft_of(path), path)


def _draft_of(path: str) -> str:
    return f"{os.path.dirname(path)}/.draft"
