"""Rules that can never match, because an earlier one matches all that they could.

Found are rules that one earlier rule covers, not those that it takes several to cover. Most rules ask only for whole prefixes,
a protocol and single ports; those are looked up by the forms that earlier ones have, as packets are. The others are compared
one by one, and of very long lists not all are: this is a warning, and nobody waits a minute for one.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

from cubes.firewall_rules import Prefix, Rule
from cubes.firewall_space import covers

_MOST_LOOKUPS = 2_000_000
_MOST_ODD = 100

Form = tuple[int | None, int | None, bool, bool, bool]
"""Prefix lengths of source and destination, and whether there is a protocol, a source port, a destination port."""


@functools.lru_cache(maxsize=8)
def shadowed(rules: tuple[Rule, ...]) -> tuple[tuple[int, int], ...]:
    """(place of a rule that never matches, place of the one that is in its way), of each that is found."""
    return tuple(_shadowed(rules))


def _shadowed(rules: Sequence[Rule]) -> Iterator[tuple[int, int]]:
    known: dict[tuple[Form, tuple[int | None, ...]], int] = {}
    forms: dict[Form, None] = {}
    odd: list[int] = []
    work = 0
    for place, rule in enumerate(rules):
        work += len(forms)
        earlier = _plain(rule, known, forms) if work < _MOST_LOOKUPS else []
        found = next((other for other in (*earlier, *odd) if covers(rules[other], rule)), None)
        if found is not None:
            yield place, found
        elif rule.decides:
            _learn(place, rule, known, forms, odd)


def _learn(place: int, rule: Rule, known: dict[tuple[Form, tuple[int | None, ...]], int], forms: dict[Form, None],
           odd: list[int]) -> None:  # fmt: skip
    single = all(span is None or span[0] == span[1] for span in (rule.sport, rule.dport))
    if rule.flags[0] or rule.states or rule.device or not single:
        if len(odd) < _MOST_ODD:
            odd.append(place)
        return
    form = (
        rule.src.length if rule.src else None, rule.dst.length if rule.dst else None,
        rule.proto is not None, rule.sport is not None, rule.dport is not None,
    )  # fmt: skip
    forms[form] = None
    known.setdefault((form, _under(form, rule)), place)


def _plain(rule: Rule, known: dict[tuple[Form, tuple[int | None, ...]], int], forms: dict[Form, None]) -> list[int]:
    """Places of earlier rules that say the same as this one, as far as they say anything."""
    found = []
    for form in forms:
        if _fits(form[0], rule.src) and _fits(form[1], rule.dst):
            place = known.get((form, _under(form, rule)))
            if place is not None:
                found.append(place)
    return sorted(found)


def _fits(length: int | None, prefix: Prefix | None) -> bool:
    return length is None or (prefix is not None and prefix.length >= length)


def _under(form: Form, rule: Rule) -> tuple[int | None, ...]:
    """What a form looks at in a rule. A range is no single port, and so is like no rule that is known here."""
    src, dst = (
        None if length is None or prefix is None else prefix.value >> (prefix.width - length) | prefix.width << 128
        for length, prefix in zip(form[:2], (rule.src, rule.dst), strict=True)
    )
    ports = [
        None if not asked or span is None else span[0] if span[0] == span[1] else -1
        for asked, span in zip(form[3:], (rule.sport, rule.dport), strict=True)
    ]
    return src, dst, rule.proto if form[2] else None, *ports
