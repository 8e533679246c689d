"""Leaves of a rule with several values: lists, ranges, service names, and '!' before them.

Such a rule is split into parts that each match one prefix and one range, as other rules do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network, summarize_address_range

from cubes.lib.ranges import FULL, Span
from cubes.lib.service_names import SERVICES
from reconciler.service.sdk import memoised

STATES = {"NEW": 1, "ESTABLISHED": 2, "RELATED": 4, "INVALID": 8}
MOST_PARTS = 1024

@dataclass(frozen=True, slots=True)
class Prefix:
    """`value` is the address as a number of 32 or 128 bits and `raw` the same as bytes; bits beyond `length` are zero, unless
    the document has others (firewall_check refuses those)."""

    family: int
    value: int
    length: int
    is_address: bool
    raw: bytes

    @property
    def width(self) -> int:
        return 32 if self.family == 4 else 128

    @property
    def has_host_bits(self) -> bool:
        return bool(self.value & ((1 << (self.width - self.length)) - 1))


@memoised
def prefix(text: str) -> Prefix:
    address, slash, length = text.partition("/")
    family, width = (6, 128) if ":" in address else (4, 32)
    raw = IPv6Address(address).packed if family == 6 else bytes(map(int, address.split(".")))
    return Prefix(family, int.from_bytes(raw, "big"), int(length) if slash else width, not slash, raw)


def is_plain_address(text: str) -> bool:
    return not any(mark in text for mark in ",!-")


def is_plain_port(said: str | int) -> bool:
    return isinstance(said, int) or said.replace("-", "", 1).isdecimal()


def networks(text: str) -> tuple[Prefix, ...]:
    """The prefixes that a list of addresses, prefixes and ranges is, or with '!' all others of its family. Raises ValueError."""
    found: dict[int, list[Span]] = {4: [], 6: []}
    for part in text.removeprefix("!").split(","):
        family, low, high = _range_of(part)
        found[family].append((low, high))
    if not text.startswith("!"):
        return tuple(each for family, spans in found.items() for each in _cut(family, _merged(spans)))
    if found[4] and found[6]:
        raise ValueError(f"{text} is of both families: write a rule for each")
    family = 4 if found[4] else 6
    return tuple(_cut(family, _others(_merged(found[family]), (1 << _WIDTH[family]) - 1)))


_WIDTH = {4: 32, 6: 128}


def _range_of(part: str) -> tuple[int, int, int]:
    if part.startswith("!"):
        raise ValueError(f"'!' stands before the first of a list, and is for all of it, not for {part[1:]} alone")
    low, dash, high = part.partition("-")
    try:
        if not dash:
            network = ip_network(part)
            return network.version, int(network.network_address), int(network.broadcast_address)
        first, last = ip_address(low), ip_address(high)
    except ValueError:
        raise ValueError(f"{part} is no address, no prefix, and no range of addresses") from None
    if first.version != last.version or int(first) > int(last):
        raise ValueError(f"{part} is no range of addresses")
    return first.version, int(first), int(last)


def _cut(family: int, spans: Iterable[Span]) -> Iterator[Prefix]:
    for low, high in spans:
        if family == 4:
            cut4 = summarize_address_range(IPv4Address(low), IPv4Address(high))
            yield from (_prefix_of(4, int(network.network_address), network.prefixlen) for network in cut4)
        else:
            cut6 = summarize_address_range(IPv6Address(low), IPv6Address(high))
            yield from (_prefix_of(6, int(network.network_address), network.prefixlen) for network in cut6)


def _prefix_of(family: int, value: int, length: int) -> Prefix:
    return Prefix(family, value, length, False, value.to_bytes(_WIDTH[family] // 8, "big"))


@memoised
def spans(text: str | int) -> tuple[Span, ...]:
    """The ranges that a list of ports, ranges and services is, or with '!' all others. Raises ValueError."""
    written = str(text)
    found = _merged(_span(part) for part in written.removeprefix("!").split(","))
    return tuple(_others(found, FULL[1]) if written.startswith("!") else found)


def _span(part: str) -> Span:
    if not part.replace("-", "", 1).isdecimal():
        if part not in SERVICES:
            near = difflib.get_close_matches(part, SERVICES, 1)
            instead = f"; did you mean {near[0]}?" if near else ": write its port"
            raise ValueError(f"no service is known by the name {part}{instead}")
        return SERVICES[part], SERVICES[part]
    low, dash, high = part.partition("-")
    first, last = int(low), int(high if dash else low)
    if last > FULL[1] or first > last:
        raise ValueError(f"{part} is no range of ports" if dash else f"{part} is no port")
    return first, last


def _merged(some: Iterable[Span]) -> list[Span]:
    found: list[Span] = []
    for low, high in sorted(some):
        if found and low <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(found[-1][1], high)
        else:
            found.append((low, high))
    return found


def _others(some: Iterable[Span], last: int) -> Iterator[Span]:
    at = 0
    for low, high in some:
        if low > at:
            yield at, low - 1
        at = high + 1
    if at <= last:
        yield at, last


def states(text: str) -> int:
    return sum(STATES[word] for word in set(text.split(",")))


def span(text: str | int) -> Span:
    """A port or a range as (first, last)."""
    if isinstance(text, int):
        return text, text
    low, dash, high = text.partition("-")
    return int(low), int(high if dash else low)


def message(text: str | int) -> tuple[Span, Span | None]:
    """An ICMP type, and the code if it is written; each as (first, last)."""
    kind, slash, code = str(text).partition("/")
    return span(int(kind)), span(int(code)) if slash else None


_UNITS = {"second": 10**9, "minute": 60 * 10**9, "hour": 3600 * 10**9, "day": 86400 * 10**9}
_BURST = 5


@dataclass(frozen=True, slots=True)
class Rate:
    """`cost`: nanoseconds between packets; `burst`: how many at once. `over`: the packets beyond the limit match."""

    cost: int
    burst: int
    by_source: bool
    over: bool = False


def rate(limit: str | int | None, burst: int | None, by: str | None) -> Rate | None:
    """Of a limit that is not a plain number of packets a second."""
    if limit is None or (isinstance(limit, int) and burst is None and by != "SOURCE"):
        return None
    count, _, unit = str(limit).removeprefix(OVER).partition("/")
    return Rate(_UNITS[unit or "second"] // int(count), burst or _BURST, by == "SOURCE", str(limit).startswith(OVER))


OVER = "over "  # before a rate
