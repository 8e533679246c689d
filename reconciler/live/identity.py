"""The identity of a cube's directory in bpffs: from its two symlinks, or, if one was lost, from the applied document.

A damaged cube is still a cube, with its learned state; one that an interrupted apply had only begun is not.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from reconciler import pins
from reconciler.graph.documents import StoredDocument, is_topology
from reconciler.graph.records import GONE, TopologyRecord
from reconciler.incremental.memo import derived
from reconciler.incremental.packed_text import PACKER
from reconciler.kernel.document_values import unpack_document
from reconciler.kernel.reader import Reader


def declared_cubes(documents: Iterable[TopologyRecord]) -> dict[str, dict[str, Any]]:
    """By cube, what the applied documents declare of it that its `about` has, too, which may be lost."""
    found: dict[str, dict[str, Any]] = {}
    for record in documents:
        found |= _said(record.stored, record.name)
    return found


def declared_namespaces(documents: Iterable[TopologyRecord]) -> dict[str, str]:
    """The namespaces that applied documents declare, each with its topology: they are ours even where their mark is lost."""
    return {name: record.name for record in documents for name in record.stored.data.get("spec", {}).get("namespaces", ())}


@derived
def _said(document: StoredDocument, topology: str) -> dict[str, dict[str, Any]]:
    spec = document.data.get("spec", {})
    fuse = spec.get("fuse", True)
    return {
        cube["name"]: {
            "service": cube["service-name"],
            "topology": topology,
            "type": cube.get("type", "TC"),
            "fuse": fuse and cube.get("fuse", True),
        }
        for cube in spec.get("cubes", ())
    }


def identity(reader: Reader, home: str, said: dict[str, Any] | None) -> tuple[dict[str, Any] | None, str | None]:
    """A cube's `about` and `current`. An applied cube that lost one of them is damaged, not gone: rebuilding it would lose
    what it learned. The wrong topology in a replaced `about` makes the damage a difference.

    Not so a cube with which an interrupted apply had only begun to replace the applied one: it is of another kind, or the
    applied one is renamed aside.
    """
    about, current = reader.json_link(f"{home}/about"), reader.link_text(f"{home}/current")
    if said is not None and about is None and current is not None:
        about = {**said, "topology": GONE}
    if said is not None and current is None and about is not None and not _begun(reader, home, said, about):
        numbers = [int(name[1:]) for name in reader.names(home) if name[0] == "g" and name[1:].isdigit()]
        current = f"g{max(numbers)}" if numbers else None
        about = {**about, "topology": GONE} if current else about
    return about, current


def _begun(reader: Reader, home: str, said: dict[str, Any], about: dict[str, Any]) -> bool:
    """Whether a cube without `current` was about to replace the applied one."""
    other = any(said[name] != about.get(name) for name in ("service", "type"))
    return other or any(name.startswith(f"{home.rpartition('/')[2]}~") for name in reader.names("cubes"))


_unpack = partial(unpack_document, unpacked=PACKER.unpack)


def documents_of(reader: Reader) -> tuple[tuple[TopologyRecord, ...], tuple[str, ...]]:
    """The applied documents, and the names of those that cannot be read: they are damaged, or another version's."""
    documents, unreadable = [], []
    for name in (pins.unescape(name) for name in reader.names("topologies") if not name.endswith("~")):
        text = reader.document(pins.topology(name), _unpack)
        record = TopologyRecord(name, text) if text is not None else None
        if record is not None and is_topology(record.stored):
            documents.append(record)
        else:
            unreadable.append(name)
    return tuple(documents), tuple(unreadable)
