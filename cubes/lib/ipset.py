"""What `ipset save` prints, beside the tables that name its sets.

    create bad hash:net family inet hashsize 1024 maxelem 65536
    add bad 192.0.2.0/24 timeout 300

Sets of addresses and of prefixes are carried over; others are read past, and a rule that names one cannot be expressed.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_KINDS = frozenset({"hash:ip", "hash:net", "bitmap:ip"})


@dataclass(slots=True)
class IpSet:
    """`unsaid`: why it cannot be a set here, if so; `fades`: some entries expire."""

    entries: list[Network] = field(default_factory=list)
    unsaid: str = ""
    fades: bool = False

    @property
    def written(self) -> list[str]:
        """The entries, each once, as a model has them."""
        return list(dict.fromkeys(map(written, self.entries)))


def written(network: Network) -> str:
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


def read_line(words: Sequence[str], sets: dict[str, IpSet]) -> str:
    """Parse one line, a create or an add; returns what is wrong with it."""
    if len(words) < 3:
        return f"{words[0]} needs a set, and what it is" if words[0] == "create" else f"{words[0]} needs a set and an entry"
    command, name, said, *options = words
    if command == "create":
        if name in sets:
            return f"set {name} is there twice"
        sets[name] = IpSet(unsaid="" if said in _KINDS else f"set {name} is of type {said}, not of addresses")
        return ""
    if name not in sets:
        return f"there is no set {name} above"
    return "" if sets[name].unsaid else _entry(sets[name], name, said, options)


def _entry(found: IpSet, name: str, said: str, options: Sequence[str]) -> str:
    if "nomatch" in options:
        found.unsaid = f"set {name} has an exception (nomatch)"
        return ""
    found.fades |= "timeout" in options
    low, dash, high = said.partition("-")
    try:
        if dash:
            first, last = ipaddress.ip_address(low), ipaddress.ip_address(high)
            found.entries += ipaddress.summarize_address_range(first, last)
        else:
            found.entries.append(ipaddress.ip_network(said))
    except (ValueError, TypeError):
        return f"{said} is no address, no prefix, and no range of addresses"
    return ""
