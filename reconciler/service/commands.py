"""Commands that a service offers: its Python half may define COMMANDS, {name of the program: Command}.

Such a command edits a topology of its own, as the REST API does, so that scripts written for another program continue to
work. It is pure: arguments and a document in, a document and output out (reconciler/cli/service_command.py does the rest).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Document = Mapping[str, Any]


class Edit(Protocol):
    """reconciler/engine/edit.py: `operation` is create, replace, merge or delete, or, of the numbered list `among`, append,
    insert or remove. Returns the new document; raises EditRefused."""

    def __call__(self, document: Document, path: str, operation: str, value: Any = None, among: str = "") -> Document: ...


@dataclass(frozen=True, slots=True)
class CommandCall:
    """`words` are the arguments, `document` is the command's topology now, `state` returns a cube as `pcn show --state` does."""

    words: Sequence[str]
    document: Document
    edit: Edit
    state: Callable[[str], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class CommandDone:
    """What is to be applied (None: nothing), printed, and the exit code."""

    document: Document | None = None
    output: str = ""
    code: int = 0


@dataclass(frozen=True, slots=True)
class Command:
    """`topology` is the one that it edits. `run` raises UsageError for what it cannot do; the exit code is then `failed`."""

    about: str
    topology: str
    run: Callable[[CommandCall], CommandDone]
    failed: int = 64


class Services(Protocol):
    """All services that can be had."""

    def names(self) -> list[str]: ...
    def get(self, name: str, /) -> Any: ...


def commands(services: Services) -> dict[str, Command]:
    """All commands that services bring, by the name of their program."""
    return dict(sorted(_all(services)))


def _all(services: Services) -> Iterator[tuple[str, Command]]:
    for name in services.names():
        service = services.get(name)
        offered: Mapping[str, Command] = service.implementation.commands if service is not None else {}
        yield from offered.items()
