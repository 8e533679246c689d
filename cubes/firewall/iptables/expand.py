"""Flattens chains of iptables into one list in which the first match decides.

A jump becomes the rules of its chain, each combined with the conditions of the jump. RETURN, and '!' before a protocol, skip
rules: for packets that skip, the rules behind the skipped ones are repeated before them, with the shared conditions.

Unsure rules (address_box.Case) never accept. One that drops or rejects is kept, and so refuses more than it should; one that
accepts is omitted; within the chain of an unsure jump nothing accepts; an unsure RETURN continues with the rules that it
might have skipped, with nothing accepted there. So whatever is accepted here iptables accepts too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cubes.firewall.iptables.address_box import EVERYTHING, AddressBox, meet
from cubes.firewall.iptables.rule import Rule

MOST = 100_000
"""Rules of one list; a chain that returns in many places may have to be written very often."""
_MOST_DEEP = 100
_MOST_LOOKS = 1_000_000


class TooMuch(Exception):
    """The list would be longer than MOST."""


@dataclass(frozen=True, slots=True)
class Flat:
    """A rule of the list: ACCEPT, DROP, REJECT or LOG for all packets of a box. `rule` is its origin, None for a policy."""

    box: AddressBox
    action: str
    rule: Rule | None


@dataclass(frozen=True, slots=True)
class Path:
    """The ingress and egress netdev of a packet, '' for none."""

    came_by: str = ""
    leaves_by: str = ""


@dataclass(frozen=True, slots=True)
class _Then:
    """Where a packet continues at the end of a chain, or after RETURN."""

    chain: str
    place: int
    sure: bool
    then: _Then | None


@dataclass(slots=True)
class Expansion:
    """`met` are the rules that some packet can reach."""

    chains: Mapping[str, Sequence[Rule]]
    policy: str
    path: Path
    met: dict[Rule, None] = field(default_factory=dict)
    _depth: int = 0
    _looks: int = 0
    _closed: dict[str, bool] = field(default_factory=dict)

    def rules(self, chain: str, under: AddressBox) -> Iterator[Flat]:
        """The list for packets of a box that meet this built-in chain, without its policy."""
        return self._through(chain, 0, under, None, sure=True)

    def _through(self, chain: str, start: int, under: AddressBox, then: _Then | None, *, sure: bool) -> Iterator[Flat]:
        """From a rule of a chain to its end. `sure`: the packets do get here."""
        self._depth += 1
        try:
            for place in range(start, len(self.chains[chain])):
                rule = self.chains[chain][place]
                if _fits(rule.came_by, self.path.came_by) and _fits(rule.leaves_by, self.path.leaves_by):
                    yield from self._at(rule, under, _Then(chain, place + 1, sure, then))
                    if any(_covers(case.box, under) and self._ends(rule, sure, case.sure) for case in rule.cases):
                        return
        finally:
            self._depth -= 1

    def _at(self, rule: Rule, under: AddressBox, behind: _Then) -> Iterator[Flat]:
        """One rule, for the packets of a box."""
        self._looks += 1
        if self._looks > _MOST_LOOKS or self._depth > _MOST_DEEP:
            raise TooMuch
        for case in rule.cases:
            both = meet(under, case.box)
            if both is None:
                continue
            self.met[rule] = None
            for box in rule.unless:
                skipping = meet(both, box)
                if skipping is not None:
                    yield from self._rest(behind, skipping)
            yield from self._one(rule, both, behind, case.sure)

    def _one(self, rule: Rule, both: AddressBox, behind: _Then, is_sure: bool) -> Iterator[Flat]:
        """One rule, for packets that match it as far as that can be expressed."""
        sure, then = behind.sure and is_sure, behind.then
        if rule.action == "ACCEPT" and sure:
            yield Flat(both, "ACCEPT", rule)
        elif rule.action in ("DROP", "REJECT", "LOG"):
            yield Flat(both, rule.action, rule)
        elif rule.action == "refuse":
            yield Flat(both, "DROP", rule)
        elif rule.action == "jump":
            yield from self._through(rule.target, 0, both, behind, sure=sure)
        elif rule.action == "goto":
            over = then if is_sure else _Then(behind.chain, behind.place, False, then)
            yield from self._through(rule.target, 0, both, over, sure=sure)
            if not (sure and self._is_closed(rule.target)):
                yield from self._rest(over, both)
        elif rule.action == "RETURN":
            skipped = self._through(behind.chain, behind.place, both, then, sure=sure)
            if is_sure and next(skipped, None) is not None:
                yield from self._rest(then, both)
            elif not is_sure:
                yield from self._rest(_Then(behind.chain, behind.place, False, then), both)

    def _ends(self, rule: Rule, sure: bool, sure_case: bool) -> bool:
        """Whether no packet that matches continues in the chain."""
        if rule.action == "jump" and not rule.unless:
            return sure and sure_case and self._is_closed(rule.target)
        return _ends(rule, sure, sure_case)

    def _is_closed(self, chain: str) -> bool:
        """Whether every packet that surely reaches it gets a verdict there."""
        if chain not in self._closed:
            self._closed[chain] = self._closes(chain)
        return self._closed[chain]

    def _closes(self, chain: str) -> bool:
        for rule in self.chains[chain]:
            if rule.action == "RETURN" or (rule.action == "goto" and not self._is_closed(rule.target)):
                return False
            everything = any(case.sure and case.box == EVERYTHING for case in rule.cases)
            if everything and not (rule.unless or rule.came_by or rule.leaves_by or rule.limit):
                if rule.action in ("ACCEPT", "DROP", "REJECT", "goto"):
                    return True
                if rule.action == "jump" and self._is_closed(rule.target):
                    return True
        return False

    def _rest(self, then: _Then | None, under: AddressBox) -> Iterator[Flat]:
        """All that is still before a packet, and the policy."""
        while then is not None:
            yield from self._through(then.chain, then.place, under, then.then, sure=then.sure)
            then = then.then
        yield Flat(under, self.policy, None)


def _fits(said: tuple[str, bool] | None, device: str) -> bool:
    if said is None:
        return True
    name, negated = said
    matches = device.startswith(name[:-1]) if name.endswith("+") else device == name
    return matches != negated


def _ends(rule: Rule, sure: bool, sure_case: bool) -> bool:
    """Whether no packet that matches continues in the chain. What refuses only because it is unsure does not count, so that
    what is behind it is examined as well."""
    if rule.limit:
        return False
    if rule.action == "ACCEPT":
        return sure and sure_case
    return rule.action in ("RETURN", "goto") or (rule.action in ("DROP", "REJECT") and sure_case)


def _covers(box: AddressBox, under: AddressBox) -> bool:
    return meet(box, under) == under
