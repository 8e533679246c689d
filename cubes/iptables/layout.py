"""Flattens each built-in chain into one list of rules, with user-defined chains inlined where rules jump to them.

A search for the first matching rule knows no chains. So a jump is replaced by the rules of its chain, each combined with the
conditions of the jump. RETURN continues behind the last inlined rule. The rules of a chain that is entered by `goto` are
followed by a RETURN of the chain that it was entered from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from cubes.iptables.match import EVERYTHING, Match, both
from cubes.iptables.rules import ACTIONS, BUILT_IN, Chain, Rule

MOST = 65536  # rules of a cube, laid out
DEEPEST = 16  # chains that lead to one another
MOST_BEHIND = 14  # rules behind which a packet goes on: each takes two of the kernel's 33 tail calls
END = 0  # in a path: the end of a chain that was gone to


@dataclass(slots=True)
class Laid:
    """A rule at one position. `path` are the jumps to it and itself. `skip`: of a RETURN, the index of the last rule that it
    skips."""

    rule: Rule
    path: tuple[int, ...]
    identity: int
    matches: list[Match]
    skip: int = -1


@dataclass(slots=True)
class _Building:
    chains: Mapping[str, Chain]
    found: list[Laid] = field(default_factory=list)


def laid_out(chains: Mapping[str, Chain]) -> dict[str, list[Laid]]:
    """The rules of each built-in chain that is written. Raises ValueError for chains that point to one another in a circle, are
    missing, or together too long."""
    found = {}
    for name in BUILT_IN:
        if name in chains:
            building = _Building(chains)
            _lay(building, name, [EVERYTHING], (), (name,))
            found[name] = _shortened(building.found)
    if sum(map(len, found.values())) > MOST:
        raise ValueError(f"chains that are laid out where rules lead to them come to more than {MOST} rules")
    return found


def _shortened(rules: list[Laid]) -> list[Laid]:
    """A search can continue behind a LOG, a RETURN or a limit only a few times (MOST_BEHIND). Where there are more of these,
    a RETURN that is a chain's last rule, as in each of fail2ban's, is left out: it would continue where the chain's end does."""
    if sum(laid.rule.action in ("LOG", "RETURN") or bool(laid.rule.leaf("limit")) for laid in rules) > MOST_BEHIND:
        for place, laid in enumerate(rules):
            if laid.rule.action == "RETURN" and laid.skip == place:
                laid.matches = []
    return rules


def _lay(building: _Building, name: str, within: list[Match], path: tuple[int, ...], names: tuple[str, ...]) -> None:
    """A chain that is jumped to: its end, and RETURN, continue behind the jump."""
    returns: list[Laid] = []
    _lay_rules(building, name, within, path, names, returns)
    for laid in returns:
        laid.skip = len(building.found) - 1


def _lay_rules(
    building: _Building, name: str, within: list[Match], path: tuple[int, ...], names: tuple[str, ...], returns: list[Laid]
) -> None:
    """`returns` are the rules so far that continue where this chain, or the one that it was entered from by goto, was jumped
    to."""
    if len(names) > DEEPEST:
        raise ValueError(f"chains lead to one another more than {DEEPEST} deep: {', '.join(names)}")
    for rule in building.chains[name].rules:
        matches = [match for outer in within for match in both(outer, rule.match)]
        if not matches:
            continue
        if rule.action in ACTIONS:
            _lay_one(building, rule, (*path, rule.identity), matches, returns)
        elif rule.action in names:
            raise ValueError(f"chains lead to one another in a circle: {' > '.join((*names, rule.action))}")
        elif rule.action not in building.chains:
            raise ValueError(f"there is no chain {rule.action}")
        elif rule.leaf("goto"):
            _lay_rules(building, rule.action, matches, (*path, rule.identity), (*names, rule.action), returns)
            _lay_one(building, replace(rule, action="RETURN"), (*path, rule.identity, END), matches, returns)
        else:
            _lay(building, rule.action, matches, (*path, rule.identity), (*names, rule.action))
        if len(building.found) > MOST:
            raise ValueError(f"chains that are laid out where rules lead to them come to more than {MOST} rules")


def _lay_one(building: _Building, rule: Rule, place: tuple[int, ...], matches: list[Match], returns: list[Laid]) -> None:
    laid = Laid(rule, place, identity_of(place), matches)
    building.found.append(laid)
    if rule.action == "RETURN":
        returns.append(laid)


def identity_of(path: tuple[int, ...]) -> int:
    """What a rule at one place is counted under."""
    if len(path) == 1:
        return path[0]
    text = b"".join(number.to_bytes(8, "little") for number in path)
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def circles(chains: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """Chains that point to themselves; `chains` are the names that each one points to."""
    for name in chains:
        ways: list[tuple[str, ...]] = [(name,)]
        known: set[str] = set()
        while ways:
            way = ways.pop()
            for step in chains.get(way[-1], ()):
                if step == name:
                    yield (*way, name)
                    ways.clear()
                    break
                if step not in known:
                    known.add(step)
                    ways.append((*way, step))
