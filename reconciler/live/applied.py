"""The documents that the kernel keeps of the last apply."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.document import Document
from reconciler.graph.documents import StoredDocument
from reconciler.graph.records import Live
from reconciler.incremental.memo import derived

APPLIED = "applied topology "  # what stands for the file of a document that the kernel keeps


def applied_documents(live: Live) -> list[Document]:
    """The documents that the kernel keeps."""
    return [applied_document(record.stored, record.name) for record in live.documents]


@derived
def applied_document(kept: StoredDocument, name: str) -> Document:
    """A document that the kernel stores; the same object each time, so that memos derived from it apply."""
    return Document(f"{APPLIED}{name}", kept.text, kept.data, 0)


def name_of(document: Document) -> str:
    data = document.data
    return str(data.get("metadata", {}).get("name", "")) if isinstance(data, Mapping) else ""
