"""Numbered entries of a list (a chain's rules) compared by content: a new number alone is no change. Pure.

A rule inserted before 600 others is reported as one rule; the renumbered others share one line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reconciler.present.leaves import changed_leaves

_NUMBERED = re.compile(r"(.+)\[(\d+)\]")
_COMPARED = 1000
"""With more entries between common prefix and suffix, they are paired by number: matching by content takes quadratic time."""
Entry = tuple[int, Mapping[str, Any]]
Pair = tuple[Entry | None, Entry | None]


def changed_entries(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """As `changed_leaves`, but numbered entries in the order of their numbers, and entries with equal content at another number
    in one line for the list."""
    lists: dict[str, tuple[list[Entry], list[Entry]]] = {}
    rest: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    for side, entries in enumerate((before, after)):
        for name, said in entries.items():
            numbered = _NUMBERED.fullmatch(name) if isinstance(said, Mapping) else None
            if numbered is None:
                rest[side][name] = said
            else:
                lists.setdefault(numbered[1], ([], []))[side].append((int(numbered[2]), said))
    yield from changed_leaves(*rest)
    for name, (old, new) in lists.items():
        yield from _of_list(name, sorted(old, key=_number), sorted(new, key=_number))


def _number(entry: Entry) -> int:
    return entry[0]


def _of_list(name: str, old: Sequence[Entry], new: Sequence[Entry]) -> Iterator[tuple[str, str]]:
    moved: list[tuple[int, int]] = []
    for was, now in _pairs(old, new):
        if was is None or now is None or was[0] == now[0] or was[1] != now[1]:
            yield from _one(name, was, now)
        else:
            moved.append((was[0], now[0]))
    if moved:
        (one, here), (last, there) = moved[0], moved[-1]
        which = f"[{one}] is [{here}] now" if len(moved) == 1 else f"[{one}] to [{last}] are [{here}] to [{there}] now"
        yield "~", f"{name}: {len(moved)} with another number only ({which})"


def _one(name: str, was: Entry | None, now: Entry | None) -> Iterator[tuple[str, str]]:
    if was is None or now is None or was[0] == now[0]:
        yield from changed_leaves({f"{name}[{was[0]}]": was[1]} if was else {}, {f"{name}[{now[0]}]": now[1]} if now else {})
        return
    for mark, words in changed_leaves(was[1], now[1]):
        yield mark, f"{name}[{now[0]}] (was [{was[0]}])/{words}"


def _pairs(old: Sequence[Entry], new: Sequence[Entry]) -> Iterator[Pair]:
    """Pairs old and new entries, in order: those with equal content, and those in the gaps between them by `_by_number`."""
    words: tuple[list[str], list[str]] = ([_words(entry) for entry in old], [_words(entry) for entry in new])
    head = _alike(*words)
    tail = _alike(words[0][head:][::-1], words[1][head:][::-1])
    yield from zip(old[:head], new[:head], strict=True)
    ends = len(old) - tail, len(new) - tail
    middle = old[head : ends[0]], new[head : ends[1]]
    if max(map(len, middle)) > _COMPARED:
        yield from _by_number(*middle)
    elif any(map(len, middle)):
        from difflib import SequenceMatcher

        said = words[0][head : ends[0]], words[1][head : ends[1]]
        for kind, a, b, c, d in SequenceMatcher(None, *said, autojunk=False).get_opcodes():
            ours = middle[0][a:b], middle[1][c:d]
            yield from zip(*ours, strict=True) if kind == "equal" else _by_number(*ours)
    yield from zip(old[ends[0] :], new[ends[1] :], strict=True)


def _by_number(old: Sequence[Entry], new: Sequence[Entry]) -> Iterator[Pair]:
    """Pairs entries with different content: by position, if there are as many as before and each pair shares its number or a
    leaf; else by number."""
    if len(old) == len(new) and all(was[0] == now[0] or _has_common(was[1], now[1]) for was, now in zip(old, new, strict=True)):
        yield from zip(old, new, strict=True)
        return
    was, now = dict(old), dict(new)
    for number in sorted({*was, *now}):
        yield (number, was[number]) if number in was else None, (number, now[number]) if number in now else None


def _has_common(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return any(leaf in other and other[leaf] == value for leaf, value in one.items())


def _alike(one: Sequence[str], other: Sequence[str]) -> int:
    """The length of the common prefix."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _words(entry: Entry) -> str:
    return repr(entry[1])
