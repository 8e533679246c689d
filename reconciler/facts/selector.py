"""Selectors of netdevs: patterns `all`, `eth*`, `kind:veth`, separated by spaces; with `!` in front, they exclude. Pure.

`kind` is the kernel's name; 'physical' is hardware. The loopback and the ends of hidden veth pairs are never selected.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase

from reconciler import pins

LOOPBACK, PHYSICAL = "loopback", "physical"


def selected(selector: str, netdevs: Mapping[str, str]) -> Iterator[str]:
    """The sorted names that a selector matches, of `netdevs`: kinds by name ('' is hardware)."""
    words = selector.split()
    wanted = [word for word in words if not word.startswith("!")] or ["all"]
    unwanted = [word[1:] for word in words if word.startswith("!")]
    for name, kind in sorted(netdevs.items()):
        if kind == LOOPBACK or pins.is_hidden(name):
            continue
        if any(_matches(word, name, kind) for word in wanted) and not any(_matches(word, name, kind) for word in unwanted):
            yield name


def _matches(word: str, name: str, kind: str) -> bool:
    if word.startswith("kind:"):
        return word.removeprefix("kind:") == (kind or PHYSICAL)
    return word == "all" or fnmatchcase(name, word.replace("[", "[[]"))
