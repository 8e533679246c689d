"""Rules that can never match, because an earlier one matches everything that they could.

Only rules that a single earlier rule covers are found, not those that several cover together. Most rules match on prefixes, a
protocol and single ports only; those are found by tuple space search, like packets. The others are compared one by one, and
in very long lists not all of them: this is a warning, and must not take a minute.

Of an edited list, only rules are examined that an added or removed rule could affect.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from operator import attrgetter

from cubes.firewall.rules import Rule
from cubes.firewall.tuple_space import covers
from cubes.firewall.values import Prefix
from reconciler.service.sdk import unchanged

_MOST_LOOKUPS = 2_000_000
_MOST_ODD = 100
_MOST_CHANGES = 256  # rules; if more came and went, all are looked at
_identity = attrgetter("identity")

Form = tuple[int | None, int | None, bool, bool, bool]
"""Prefix lengths of source and destination, and whether there is a protocol, a source port, a destination port."""
Values = tuple[int | None, ...]
"""What a form looks at in a rule."""


@dataclass(slots=True)
class Shadows:
    """The rules of one chain as they were last examined. `found`: by the identity of each rule that never matches, the one
    that covers it. `by_form` has all rules, `odd` those that are compared one by one."""

    rules: Sequence[Rule] = ()
    found: dict[int, Rule] = field(default_factory=dict)
    by_form: dict[Form, dict[Values, list[Rule]]] = field(default_factory=dict)
    odd: list[Rule] = field(default_factory=list)
    places: dict[int, int] = field(default_factory=dict)

    def of(self, rules: Sequence[Rule]) -> list[tuple[int, int]]:
        """(index of a rule that never matches, index of the one that covers it), of each one found."""
        start, rest = unchanged(self.rules, rules)
        gone, new = self.rules[start : len(self.rules) - rest], rules[start : len(rules) - rest]
        if start and not gone and not rest:  # some came behind the others
            self.places.update(zip(map(_identity, new), count(start), strict=False))
        else:
            self.places = dict(zip(map(_identity, rules), count(), strict=False))
        self.rules = rules
        if len(gone) + len(new) > _MOST_CHANGES:
            self.found, self.by_form, self.odd, gone, new = {}, {}, [], (), rules
        self._change(gone, new)
        return sorted((self.places[later], self.places[earlier.identity]) for later, earlier in self.found.items())

    def _change(self, gone: Iterable[Rule], new: Sequence[Rule]) -> None:
        for rule in gone:
            self._take_out(rule)
        first = len(new) == len(self.rules)  # then each rule is looked at once, in order
        waiting = [] if first else [(self.places[later], later) for later in self._in_the_shadow_of(gone)]
        for rule in new:
            self._put_in(rule)
            waiting.append((self.places[rule.identity], rule.identity))
        heapq.heapify(waiting)
        done: set[int] = set()
        is_new = {rule.identity for rule in new}
        while waiting:
            place, identity = heapq.heappop(waiting)
            if identity in done:
                continue
            done.add(identity)
            rule, before = self.rules[place], self.found.pop(identity, None)
            earlier = self._in_the_way_of(rule, place)
            if earlier is not None:
                self.found[identity] = earlier
            if not first and ((before is None) != (earlier is None) or identity in is_new):
                waiting += [(self.places[later.identity], later.identity) for later in self._below(rule, place)]
                heapq.heapify(waiting)

    def _in_the_shadow_of(self, gone: Iterable[Rule]) -> list[int]:
        doomed = {rule.identity for rule in gone}
        return [later for later, earlier in self.found.items() if earlier.identity in doomed]

    def _put_in(self, rule: Rule) -> None:
        form = _form(rule)
        self.by_form.setdefault(form, defaultdict(list))[_under(form, rule)].append(rule)
        if _is_odd(rule) and rule.decides:
            self.odd.append(rule)

    def _take_out(self, rule: Rule) -> None:
        form = _form(rule)
        values = _under(form, rule)
        alike = self.by_form[form][values]
        alike.remove(rule)
        if not alike:
            del self.by_form[form][values]
        if not self.by_form[form]:
            del self.by_form[form]
        if rule in self.odd:
            self.odd.remove(rule)
        self.found.pop(rule.identity, None)

    def _in_the_way_of(self, rule: Rule, place: int) -> Rule | None:
        """The first rule that covers it; those that are compared one by one come last."""
        candidates = []
        if place * len(self.by_form) < _MOST_LOOKUPS:
            for form, by_values in self.by_form.items():
                if _fits(form[0], rule.src) and _fits(form[1], rule.dst):
                    candidates += [other for other in by_values.get(_under(form, rule), ()) if not _is_odd(other)]
        places = self.places
        for some in (candidates, self.odd[:_MOST_ODD]):
            earlier = [other for other in some if places[other.identity] < place and other.identity not in self.found]
            for other in sorted(earlier, key=lambda each: places[each.identity]):
                if covers(other, rule):
                    return other
        return None

    def _below(self, rule: Rule, place: int) -> Iterator[Rule]:
        """Later rules that it covers."""
        own = _form(rule)
        for form, by_values in self.by_form.items():
            if any(_misses(ours, theirs) for ours, theirs in zip(own, form, strict=True)):
                continue
            lots = [by_values.get(_under(form, rule), [])] if form == own and not _is_odd(rule) else by_values.values()
            yield from (later for lot in lots for later in lot if self.places[later.identity] > place and covers(rule, later))


def shadowed(rules: Sequence[Rule]) -> list[tuple[int, int]]:
    """`Shadows.of` without a memo."""
    return Shadows().of(rules)


def _misses(ours: int | bool | None, theirs: int | bool | None) -> bool:
    """Whether a rule that examines so much of a field cannot cover one that states so much of it."""
    return bool(ours) and (theirs is None or theirs < ours) if ours is not None else False


def _form(rule: Rule) -> Form:
    return (
        rule.src.length if rule.src else None, rule.dst.length if rule.dst else None,
        rule.proto is not None, rule.sport is not None, rule.dport is not None,
    )  # fmt: skip


def _is_odd(rule: Rule) -> bool:
    """Whether it matches on more than prefixes, a protocol and single ports."""
    single = all(span is None or span[0] == span[1] for span in (rule.sport, rule.dport))
    return bool(rule.texts or rule.flags[0] or rule.states or rule.device or rule.src_set or rule.dst_set or not single)


def _fits(length: int | None, prefix: Prefix | None) -> bool:
    return length is None or (prefix is not None and prefix.length >= length)


def _under(form: Form, rule: Rule) -> Values:
    """The fields of a rule that a form compares. A range is no single port, and therefore equals none."""
    src, dst = (
        None if length is None or prefix is None else prefix.value >> (prefix.width - length) | prefix.width << 128
        for length, prefix in zip(form[:2], (rule.src, rule.dst), strict=True)
    )
    ports = [
        None if not asked or span is None else span[0] if span[0] == span[1] else -1
        for asked, span in zip(form[3:], (rule.sport, rule.dport), strict=True)
    ]
    return src, dst, rule.proto if form[2] else None, *ports
