"""The context of an import beside the rules of a table: the host's addresses, its sets (ipset), and other tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from cubes.firewall.iptables.address_box import Network
from cubes.firewall.iptables.parser import SavedTable
from cubes.lib.ipset import IpSet

OWN = "own-addresses"
"""The set of the host's own addresses, which follows their changes."""
_BY = {"SNAT": {"SNAT", "MASQUERADE", "NETMAP"}, "DNAT": {"DNAT", "REDIRECT", "NETMAP", "TPROXY"}}
_NEVER = {"ACCEPT", "RETURN", "LOG", "DROP", "MARK", "CONNMARK"} | _BY["SNAT"] | _BY["DNAT"]


@dataclass(frozen=True, slots=True)
class Known:
    """`types`: addresses of each type (addrtype); `sets`: those of ipset. `translated`: the states of SNAT and DNAT that a
    connection may have; `senders`: whether the firewall sees the same source MAC as iptables."""

    types: Mapping[str, Sequence[Network]] = field(default_factory=dict)
    sets: Mapping[str, IpSet] = field(default_factory=dict)
    translated: frozenset[str] = frozenset(_BY)
    senders: bool = True


def translated(nat: SavedTable | None) -> frozenset[str]:
    """The states that a table nat can cause; both if it is unknown."""
    if nat is None:
        return frozenset(_BY)
    targets = set(_targets(nat)) - {name for name, chain in nat.chains.items() if chain.policy == "-"}
    return frozenset(state for state, by in _BY.items() if targets & by or targets - _NEVER)


def _targets(table: SavedTable) -> Iterable[str]:
    for line in (line for chain in table.chains.values() for line in chain.lines):
        yield from (word.text for option, word in pairwise(line.words) if option.text in ("-j", "-g", "--jump", "--goto"))
