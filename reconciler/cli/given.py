"""Files for a command that runs on another host: its arguments resolved here to texts with their names."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import IO, TYPE_CHECKING

from reconciler.errors import DocumentError, Problem, UsageError

if TYPE_CHECKING:
    from reconciler.document import Document

Given = Mapping[str, Sequence[tuple[str, str]]]
"""By argument (`-`, a file, a directory): names and texts of its files."""


def gathered(words: Sequence[str], stdin: IO[bytes]) -> dict[str, list[tuple[str, str]]]:
    """The files of these arguments, each once. Raises UsageError for an unreadable file, DocumentError for one that is no
    text."""
    from reconciler.document.load import read_texts

    found: dict[str, list[tuple[str, str]]] = {}
    for word in dict.fromkeys(words):
        before = {name for texts in found.values() for name, _ in texts}
        found[word] = [(name, text) for name, text in read_texts([word], stdin=stdin).items() if name not in before]
    return found


def of_texts(given: Given, words: Sequence[str], sources: MutableMapping[str, str]) -> list[Document]:
    """The documents of these arguments. Raises UsageError for an argument without texts, DocumentError as `load` does."""
    from reconciler.document.load import parse

    documents: list[Document] = []
    problems: list[Problem] = []
    for word in words:
        if word not in given:
            raise UsageError(f"the text of {word} did not come")
        for name, text in given[word]:
            sources[name] = text
            try:
                documents += parse(text, name)
            except DocumentError as error:
                problems += error.problems
    if problems:
        raise DocumentError(problems)
    return documents
