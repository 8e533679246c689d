"""Operations on the network around the cubes: namespaces, netdevs, their settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from reconciler.model import Link, LinkEnd
from reconciler.plan.operations.base import Operation


@dataclass(frozen=True, slots=True)
class CreateNamespace(Operation):
    """Make a network namespace, with the mark of its topology; of one that is there, set the mark."""

    subject: ClassVar[str] = "name"
    name: str
    topology: str

    def inverse(self) -> DeleteNamespace:
        return DeleteNamespace(self.name)


@dataclass(frozen=True, slots=True)
class DeleteNamespace(Operation):
    subject: ClassVar[str] = "name"
    name: str


@dataclass(frozen=True, slots=True)
class _OfLink(Operation):
    link: Link
    topology: str

    def __str__(self) -> str:
        return f"{self.kind.replace('_', ' ')} {self.link.end.name}"


@dataclass(frozen=True, slots=True)
class CreateLink(_OfLink):
    """Make a netdev. `again`: it was deleted before; make it with its settings, and with the MACs it had."""

    again: bool = False

    def inverse(self) -> DeleteLinks:
        return DeleteLinks((self.link,))


class ClaimLink(_OfLink):
    """Mark a netdev as a topology's ('': as no one's)."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class DeleteLinks(Operation):
    """Delete netdevs, all at once in each namespace."""

    links: tuple[Link, ...]

    def __str__(self) -> str:
        return f"delete links {', '.join(link.end.name for link in self.links)}"


@dataclass(frozen=True, slots=True)
class ConfigureEnd(Operation):
    """Make an end as wanted, which was as `before`; what the kernel does not have and `before` names is not requested."""

    end: LinkEnd
    before: LinkEnd

    def __str__(self) -> str:
        return f"{self.kind.replace('_', ' ')} {self.end.name}"

    def inverse(self) -> ConfigureEnd:
        return ConfigureEnd(self.before, self.end)


@dataclass(frozen=True, slots=True)
class TellEnd(Operation):
    """Configure an end where it differs from the configuration `before`, and nothing else; other settings may be another
    program's. The configuration is stored at `told`."""

    end: LinkEnd
    before: LinkEnd
    told: str

    def __str__(self) -> str:
        return f"tell end {self.end.name}"

    def inverse(self) -> TellEnd:
        return TellEnd(self.before, self.end, self.told)


@dataclass(frozen=True, slots=True)
class SetPromiscuous(Operation):
    """Set or clear a netdev's promiscuous mode; it stays if another program requests it too."""

    subject: ClassVar[str] = "netdev"
    netdev: str
    topology: str
    on: bool


@dataclass(frozen=True, slots=True)
class SetOffload(Operation):
    """Switch offloads of a netdev, by the names that kernel.offload has for them."""

    subject: ClassVar[str] = "netdev"
    netdev: str
    netns: str | None
    settings: Mapping[str, bool]
