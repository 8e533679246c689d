"""Maps an error's line of C to its position in a document, for cubes whose C is in their configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reconciler.document import Document, Path
from reconciler.engine.builder import named_text
from reconciler.errors import PcnError
from reconciler.service.registry import Service, Services


def say_where(error: PcnError, documents: Sequence[Document], services: Services) -> None:
    """Prefix an error with a position in a document, if it is about a text that one of `documents` contains."""
    words = "\n".join([str(error), *getattr(error, "__notes__", ())])
    for document, place, cube in _cubes(documents):
        service = services.get(str(cube.get("service-name")))
        if service is None or not service.has_sources:
            continue
        for file, text in _texts(service, cube):
            line, path = _line(words, str(cube.get("name")), file), _path(cube, text)
            if line is not None and path is not None:
                error.args = (f"{document.line_of((*place, *path), line)}: {error}",)
                return


def _cubes(documents: Sequence[Document]) -> Iterator[tuple[Document, Path, Mapping[str, Any]]]:
    for document in documents:
        for at, cube in enumerate(document.data.get("spec", {}).get("cubes") or ()):
            yield document, ("spec", "cubes", at), cube


def _texts(service: Service, cube: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The names and texts of the cube's own C."""
    sources = service.sources(cube)
    for programs in sources.programs.values() if sources is not None else ():
        yield from ((program.name, program.text) for program in programs if program.text is not None)


def _line(words: str, cube: str, file: str) -> int | None:
    """The line that a compiler's message names, or the verifier's report of a program of this cube."""
    found = re.search(rf"{re.escape(named_text(cube, file))}:(\d+)", words)
    if found is None and f"cube/{cube}/program/" in words:
        found = re.search(rf" at {re.escape(file)}:(\d+)", words)
    return int(found.group(1)) if found else None


def _path(node: Any, text: str) -> Path | None:
    """The path of a text in a cube as written."""
    if isinstance(node, str):
        return () if node.replace("\r\n", "\n") == text else None
    members = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    return next(((step, *path) for step, member in members if (path := _path(member, text)) is not None), None)
