"""Rules that no schema can express about named sets of addresses (address_sets.py), and about rules that name them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from cubes.lib.address_sets import Place, place_of, problem
from reconciler.service.sdk import Distinct, EntryMemo, Owned

Said = tuple[tuple[str | int, ...], str, str]
_PREFIXES: Owned[EntryMemo[str]] = Owned(EntryMemo)


def problems_of_sets(sets: Iterable[Mapping[str, Any]], cube: str) -> Iterator[Said]:
    """(steps from the cube, sentence, "error")."""
    for index, each in enumerate(sets):
        some = each.get("prefix", [])
        if each.get("own-addresses") and some:
            yield ("set", index, "prefix"), "this host's addresses are what is in it", "error"
        said = _PREFIXES().each(some, lambda _, text: problem(text))
        for place, sentence in enumerate(said) if any(said) else ():
            if sentence:
                yield ("set", index, "prefix", place), sentence, "error"
        if not any(said) and not _DISTINCT.of((cube, each["name"])).holds(some):
            yield from _repeated(index, some)


def _repeated(index: int, some: Sequence[str]) -> Iterator[Said]:
    seen: dict[str | Place, int] = {}
    for place, text in enumerate(some):
        first = seen.setdefault(_key(text), place)
        if first != place:
            yield ("set", index, "prefix", place), f"it is there twice: {some[first]} is the same", "error"


def _key(text: str) -> str | Place:
    """The same for entries that are the same. An address of IPv4 has one spelling only."""
    return place_of(text) if ":" in text or "/" in text else text


_DISTINCT = Owned(lambda: Distinct(_key))  # by cube and set: of what was in it the last time


def unknown_sets(rule: Mapping[str, Any], names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(leaf, sentence) of each set that a rule refers to and that does not exist."""
    for leaf in ("src-set", "dst-set"):
        name = rule.get(leaf, "").removeprefix("!")
        if name and name not in names:
            near = difflib.get_close_matches(name, names, 1)
            yield leaf, f"there is no set {name!r}" + (f"; did you mean {near[0]!r}?" if near else "")
