"""A rule while its arguments are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

Leaves = dict[str, Any]


class Refused(ValueError):
    """An argument that cannot be done; the text is a sentence."""


@dataclass(slots=True)
class Words:
    """The remaining arguments, in order."""

    left: list[str]
    at: int = 0

    def __iter__(self) -> Iterator[str]:
        while self.at < len(self.left):
            self.at += 1
            yield self.left[self.at - 1]

    def value(self, option: str) -> str:
        if self.at >= len(self.left):
            raise Refused(f"option {option} needs a value")
        self.at += 1
        return self.left[self.at - 1]

    def follows(self) -> str | None:
        """The next argument, if it is no option."""
        word = self.left[self.at] if self.at < len(self.left) else None
        return None if word is None or word.startswith("-") or word == "!" else word


@dataclass(slots=True)
class Spoken:
    """A rule from a command line: its leaves but for addresses, of which there may be several."""

    leaves: Leaves = field(default_factory=dict)
    sources: list[str] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)

    def rules(self) -> list[Leaves]:
        """A rule for each pair of addresses, as iptables makes them."""
        return [
            self.leaves | ({"src": src} if src else {}) | ({"dst": dst} if dst else {})
            for src in self.sources or [""]
            for dst in self.targets or [""]
        ]


Reader = Callable[[Words, str, Spoken, str], None]
"""Takes in an option's value: what is left, '!' or '', the rule so far, and the option as it was written. Raises Refused."""
