"""The record of an applied document."""

from __future__ import annotations

from dataclasses import dataclass, field

from reconciler.graph.documents import StoredDocument, stored


@dataclass(frozen=True, slots=True, eq=False)
class TopologyRecord:
    """The applied document, JSON as the user ordered it, and its parsed form. Records are equal if their documents are
    (`StoredDocument.says_the_same_as`)."""

    name: str
    document: str
    stored: StoredDocument = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "stored", stored(self.document))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TopologyRecord) and self.name == other.name and self.stored.says_the_same_as(other.stored)

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def address(self) -> str:
        return f"topology/{self.name}"
