"""Folds rules that differ in one field into one rule with a list, so that a single line of iptables does not become many.

A rule may be moved up to an earlier one if no packet gets another verdict by that: the rules between are disjoint from it, or
have the same verdict.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cubes.firewall.iptables.address_box import AddressBox, meet
from cubes.firewall.iptables.expand import Flat
from cubes.firewall.iptables.rule import Rule

_FIELDS = ("state", "dport", "sport", "dst", "src", "device")
_LISTS = _FIELDS[:-1]  # a rule has one netdev
_FAR = 64  # rules that one is held against
_PASSES = 4
_MOST = 256  # combinations of one rule's lists, but for addresses, which may become a set


@dataclass(frozen=True, slots=True)
class Folded:
    """Boxes with one verdict: each field has its possible values, (None,) where there is no condition. `rule` is their
    origin, None if that was a policy."""

    boxes: tuple[AddressBox, ...]
    fields: tuple[tuple[Any, ...], ...]
    action: str
    rule: Rule | None

    @property
    def box(self) -> AddressBox:
        return self.boxes[0]

    @property
    def rest(self) -> tuple[Any, ...]:
        limit = self.rule.limit if self.rule is not None else None
        alone = self.rule if limit or self.action == "LOG" else None  # by what rule it is, not by what it says
        box = self.box
        named = box.smac, box.src_sets, box.dst_sets
        return self.action, self.answer, box.proto, box.flags, named, self.is_message, alone

    @property
    def answer(self) -> str:
        return self.rule.answer if self.rule is not None else ""

    @property
    def is_message(self) -> bool:
        """Of ICMP, ports are type and code, and have no lists."""
        return self.box.proto in (1, 58)

    def values(self, name: str) -> tuple[Any, ...]:
        return self.fields[_FIELDS.index(name)]


def fold(flats: Iterable[Flat]) -> list[Folded]:
    found = [_single(flat) for flat in flats]
    for _ in range(_PASSES):
        before = len(found)
        found = _pass(found)
        if len(found) == before:
            break
    return found


def _single(flat: Flat) -> Folded:
    box = flat.box
    return Folded((box,), tuple((getattr(box, name),) for name in _FIELDS), flat.action, flat.rule)


def _pass(some: Sequence[Folded]) -> list[Folded]:
    found: list[Folded] = []
    for each in some:
        for place in range(len(found) - 1, max(-1, len(found) - 1 - _FAR), -1):
            both = _joined(found[place], each)
            if both is not None:
                found[place] = both
                break
            if not _commute(found[place], each):
                found.append(each)
                break
        else:
            found.append(each)
    return found


def _joined(one: Folded, other: Folded) -> Folded | None:
    if one.rest != other.rest:
        return None
    differ = [place for place, (a, b) in enumerate(zip(one.fields, other.fields, strict=True)) if a != b]
    if not differ:
        return one
    if len(differ) > 1 or _FIELDS[differ[0]] not in _LISTS or (one.is_message and _FIELDS[differ[0]] in ("sport", "dport")):
        return None
    values = tuple(dict.fromkeys((*one.fields[differ[0]], *other.fields[differ[0]])))
    fields = (*one.fields[: differ[0]], values, *one.fields[differ[0] + 1 :])
    if None in values or _combinations(fields) > _MOST:
        return None
    rule = one.rule if one.rule is other.rule else _both(one.rule, other.rule)
    return Folded((*one.boxes, *other.boxes), fields, one.action, rule)


def _combinations(fields: Sequence[tuple[Any, ...]]) -> int:
    count = 1
    for name, values in zip(_FIELDS, fields, strict=True):
        count *= len(values) if name not in ("src", "dst") else 1
    return count


def _both(one: Rule | None, other: Rule | None) -> Rule | None:
    if one is None or other is None or one.comment == other.comment:
        return one or other
    return replace(one, comment="")


def _commute(one: Folded, other: Folded) -> bool:
    """Whether the two rules can change places."""
    same = (one.action, one.answer) == (other.action, other.answer)
    if same and one.action != "LOG" and not _is_limited(one) and not _is_limited(other):
        return True
    return all(meet(a, b) is None for a in one.boxes for b in other.boxes)


def _is_limited(some: Folded) -> bool:
    return some.rule is not None and bool(some.rule.limit)
