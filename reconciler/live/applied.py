"""The documents that the kernel keeps of the last apply."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from reconciler.document import Document
from reconciler.graph.documents import document_data
from reconciler.graph.records import Live

APPLIED = "applied topology "  # what stands for the file of a document that the kernel keeps


def applied_documents(live: Live) -> list[Document]:
    """The documents that the kernel keeps."""
    return [applied_document(record.name, record.document) for record in live.documents]


@functools.lru_cache(maxsize=16)
def applied_document(name: str, text: str) -> Document:
    """A document that the kernel keeps. Whoever asks again is given the same one, of which most is worked out then."""
    return Document(f"{APPLIED}{name}", text, document_data(text), 0)


def name_of(document: Document) -> str:
    data = document.data
    return str(data.get("metadata", {}).get("name", "")) if isinstance(data, Mapping) else ""
