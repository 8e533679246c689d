"""Other programs' files as topologies: what a service's Python half may offer under the name IMPORTS, {format: Import}.

An import is pure: texts and options in, a document out, with all that it could not carry over. `pcn import` finds it by the name
of its format, reads the files and decides what is to be done about what is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from reconciler.errors import Problem


class Services(Protocol):
    """All services that can be had."""

    def names(self) -> list[str]: ...
    def get(self, name: str, /) -> Any: ...

@dataclass(frozen=True, slots=True)
class Option:
    """`--name METAVAR`, as often as one likes; without a metavar, a switch. It states what the files cannot."""

    name: str
    metavar: str
    about: str


@dataclass(frozen=True, slots=True)
class Imported:
    """A topology in document form, and warnings about what it lacks. A loss is an error if packets may be treated
    differently, and its hint then states how; otherwise it is a warning."""

    document: Mapping[str, Any]
    lost: Sequence[Problem] = ()


@dataclass(frozen=True, slots=True)
class Import:
    """`read` takes the files' texts by name, and the values of each option on the command line (a switch: none). Raises
    DocumentError for a text in another format, UsageError for a missing or invalid option."""

    about: str
    read: Callable[[Mapping[str, str], Mapping[str, Sequence[str]]], Imported]
    options: tuple[Option, ...] = ()


def imports(services: Services, only: str = "") -> dict[str, Import]:
    """All formats that the services can read, by name, or that the service `only` can. Of those that read the same format, the
    first one by name does."""
    found: dict[str, Import] = {}
    for name, each in _all(services, only):
        found.setdefault(name, each)
    return dict(sorted(found.items()))


def _all(services: Services, only: str) -> Iterator[tuple[str, Import]]:
    for name in sorted(services.names()) if not only else [only]:
        service = services.get(name)
        offered: Mapping[str, Import] = service.implementation.imports if service is not None else {}
        yield from offered.items()
