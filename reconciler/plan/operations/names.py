"""Operations on names in bpffs: directories, links that hold text, pins, documents."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.plan.operations.base import Operation


@dataclass(frozen=True, slots=True)
class _AtPath(Operation):
    path: str


class MakeDirectory(_AtPath):
    """One that is there already stays."""

    __slots__ = ()

    def inverse(self) -> Remove:
        return Remove(self.path)


class Remove(_AtPath):
    """Remove a pin, or a directory with all that is below it."""

    __slots__ = ()


class RemoveCube(_AtPath):
    """Remove a cube's directory, `current` first, without which it counts as an orphan."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class SetLink(Operation):
    """Make a symbolic link that holds a text, or give it another one, by a rename."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class SetDocument(Operation):
    """Keep an applied document: a map of one value, compressed, exchanged by a rename."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Rename(Operation):
    """Rename a pin or a directory over what may be at `to`."""

    path: str
    to: str

    def inverse(self) -> Rename:
        return Rename(self.to, self.path)


@dataclass(frozen=True, slots=True)
class Grace(Operation):
    """Wait for an RCU grace period, so that no packet is in a program that was replaced."""
