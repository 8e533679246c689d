"""Ownership of cubes: the API writes to its own topology only. A cube that a file declares is edited in that file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconciler.agent import singleton
from reconciler.api.answers import Refusal
from reconciler.api.store import Store
from reconciler.document import Document
from reconciler.document.load import load
from reconciler.errors import PcnError

FIXED = (
    "services", "cubes", "netdevs", "version", "connect", "disconnect", "attach", "detach", "topology", "metrics",
    "openapi.json", "events",
)  # fmt: skip
"""First path segments that are neither a service nor a cube."""


def refuse_reserved(store: Store, name: str) -> None:
    """Raises Refusal for a name that collides with a fixed path."""
    if name in FIXED or store.options.services.get(name) is not None:
        what = "a fixed word of the API" if name in FIXED else "the name of a service"
        raise Refusal(400, "invalid-value", f'"{name}" is {what}, and cubes have names beside these', f"/cubes/{name}", "name")


def refuse_others(store: Store, document: Mapping[str, Any], name: str, *, creates: bool = False) -> None:
    """Raises Refusal if the cube is another topology's, or (unless it is to be created) does not exist."""
    if any(cube["name"] == name for cube in document["spec"].get("cubes", ())):
        return
    owner = store.owners().get(name)
    if owner is not None:
        why = f"{name} belongs to topology {owner}, {place_of(store, name, owner)}"
        raise Refusal(409, "resource-denied", why, f"/cubes/{name}", name)
    if not creates:
        raise Refusal(404, "data-missing", f'there is no cube "{name}"', f"/cubes/{name}", name)


def refuse_two_sources(store: Store) -> None:
    """Raises Refusal if a file that an agent watches declares the API's own topology: the agent would revert each write."""
    files = watched(store.options.root)
    if files == store.agrees_with:  # these texts were checked before
        return
    for path in files:
        for document in _documents(path):
            said = document.data.get("metadata") if isinstance(document.data, dict) else None
            if isinstance(said, dict) and said.get("name") == store.topology:
                where = document.position(("metadata", "name"))
                both = f"{where.file}:{where.line}, which an agent watches, and by {store.saved.path}"
                raise Refusal(409, "resource-denied", f"topology {store.topology} is said by {both}", info=store.topology)
    store.agrees_with = files


def place_of(store: Store, cube: str, topology: str) -> str:
    """Where a cube of another topology is edited, as text."""
    for path in watched(store.options.root):
        for document in _documents(path):
            for number, found in enumerate(_cubes(document.data)):
                if isinstance(found, dict) and found.get("name") == cube:
                    steps = ("spec", "cubes", number) if isinstance(document.data, dict) else (number,)
                    where = document.position(steps)
                    return f"which {where.file}:{where.line} says: edit it there"
    return f"which was applied by another writer: edit its file, or 'pcn delete {topology}'"


def _documents(path: str) -> list[Document]:
    """The documents of a file; none if it is unreadable."""
    try:
        return load([path])
    except PcnError:
        return []


def watched(root: str) -> dict[str, str]:
    """The files that an agent watches, with their digests; none without an agent."""
    said = singleton.ask(root, 1.0) or {}
    return {str(file["path"]): str(file["digest"]) for file in said.get("files", ())}


def _cubes(data: Any) -> list[Any]:
    found = data.get("spec", {}).get("cubes", []) if isinstance(data, dict) and isinstance(data.get("spec"), dict) else data
    return found if isinstance(found, list) else []
