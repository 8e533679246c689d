"""The sets of a firewall that is built from iptables' rules: long lists of addresses, those of ipset, and the host's own
addresses.

A rule requests one set of each end. Where it is to be in several, or not in some, a set is created that is all of that.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cubes.firewall.iptables.address_box import Network
from cubes.firewall.iptables.expand import TooMuch
from cubes.firewall.iptables.known import OWN
from cubes.lib.ipset import IpSet, written


class Unsayable(Exception):
    """Why two conditions cannot be combined in one rule."""


_MOST = 1_000_000  # pairs of entries that are compared for a set of several


@dataclass(slots=True)
class Sets:
    """`ipsets` are those that rules may name. `lists`: names of created sets, by their sorted prefixes; `used`: our names of the
    ipsets that rules use."""

    ipsets: Mapping[str, IpSet] = field(default_factory=dict)
    lists: dict[tuple[str, ...], str] = field(default_factory=dict)
    used: dict[str, str] = field(default_factory=dict)

    def name(self, prefixes: Iterable[str]) -> str:
        return self.lists.setdefault(tuple(sorted(prefixes)), f"addresses-{len(self.lists) + 1}")

    def together(self, names: frozenset[str], within: Sequence[Network] = ()) -> str:
        """The name of a set: the intersection of these, and of `within` unless empty, without those that have a '!'; if all have
        one, '!' and their union. Raises Unsayable for the host's own addresses with others, since they are unknown here."""
        if len(names) == 1 and not within:
            (said,) = names
            return said[: len(said) - len(said.lstrip("!"))] + self._own_name(said.lstrip("!"))
        if OWN in {name.lstrip("!") for name in names}:
            raise Unsayable(f"{', '.join(sorted(names))} of one end cannot be said together: name this host's with --address")
        wanted = [self.ipsets[name].entries for name in sorted(names) if not name.startswith("!")]
        wanted += [list(within)] if within else []
        others = [each for name in sorted(names) if name.startswith("!") for each in self.ipsets[name[1:]].entries]
        if not wanted:
            return "!" + self.name(map(written, _merged(others)))
        return self.name(map(written, _without(functools.reduce(_both, wanted), others)))

    def _own_name(self, name: str) -> str:
        clean = re.sub(r"[^A-Za-z0-9_.-]", "_", name)
        is_taken = name != OWN and (clean in (OWN, *self.used.values()) or clean.startswith(("-", ".", "addresses-")))
        return self.used.setdefault(name, f"set-{len(self.used)}-{clean}" if is_taken else clean)

    def written(self) -> list[dict[str, Any]]:
        own = [{"name": OWN, "own-addresses": True}] if OWN in self.used else []
        named = {name: self.ipsets[said].written for said, name in self.used.items() if said != OWN}
        made = {name: list(prefixes) for prefixes, name in self.lists.items()}
        return own + [{"name": name, "prefix": prefixes} for name, prefixes in (named | made).items()]


def _merged(some: Iterable[Network]) -> list[Network]:
    """Each once, in the order in which they are written."""
    return list(dict.fromkeys(some))


def _both(some: Sequence[Network], others: Sequence[Network]) -> list[Network]:
    if len(some) * len(others) > _MOST:
        raise TooMuch
    return [max(a, b, key=lambda each: each.prefixlen) for a in some for b in others if a.version == b.version and a.overlaps(b)]


def _without(some: Sequence[Network], others: Sequence[Network]) -> list[Network]:
    if len(some) * len(others) > _MOST:
        raise TooMuch
    found: list[Any] = list(some)
    for other in others:
        kept: list[Any] = []
        for each in found:
            if each.version != other.version or not each.overlaps(other):
                kept.append(each)
            elif each.prefixlen < other.prefixlen:
                kept += each.address_exclude(other)
        found = kept
    return sorted(set(found), key=ipaddress.get_mixed_type_key)
