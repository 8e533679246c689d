"""The edge to pyang: parsed models in, or errors that name a file and a line.

pyang has no type hints, so its statements are `Statement` (Any) in this package, and a JSON Schema is a
`Schema`. What is used of them: `keyword` (a
pair (module, name) for an extension), `arg`, `pos`, `parent`, `substmts`, `search`, `search_one`; and on data nodes
`i_children` (groupings, augments and choices already in place) and `i_config`.
"""
from __future__ import annotations

import os
import re
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

Statement: TypeAlias = Any
Schema: TypeAlias = dict[str, Any]

MODELS = Path(__file__).resolve().parent.parent / "yang"
BUILT_IN = MODELS / "services"
LIBRARY = MODELS / "base"  # types and extensions, and the document itself
STANDARD = [Path(sysconfig.get_path("data"), "share", "yang", "modules", name) for name in ("ietf", "iana")]
BASE = "polycube-base"
PCN = "polycube-pcn"


class ModelError(Exception):
    """A model that no schema can be made from. `problems` are whole lines: 'file:line: sentence'."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


def at(statement: Statement, sentence: str) -> str:
    """'file:line: sentence', with the file as seen from the working directory if it is below it."""
    return f"{_shown(statement.pos.ref)}:{statement.pos.line}: {sentence}"


def fail(statement: Statement, sentence: str) -> ModelError:
    return ModelError([at(statement, sentence)])


def load_module(path: Path, also: Iterable[Path] = ()) -> Statement:
    """The validated module in the file `path`.

    Modules it imports are looked for beside it, in the directories `also`, among the built-in models and at last
    among the standard ones that pyang brings along. Raises ModelError with everything pyang has against it.
    """
    from pyang import context, error, repository

    directories = os.pathsep.join(map(str, [path.parent, *also, LIBRARY, *STANDARD]))
    context_ = context.Context(repository.FileRepository(directories, use_env=False, no_path_recurse=True))
    module = context_.add_module(str(path), path.read_text(encoding="utf-8"))
    context_.validate()
    problems = [
        f"{_shown(pos.ref)}:{pos.line}: {error.err_to_str(tag, args)}"
        for pos, tag, args in context_.errors
        if error.is_error(error.err_level(tag))
    ]
    if problems or module is None:
        raise ModelError(problems or [f"{_shown(str(path))}:1: this is not a YANG module"])
    return module


def extension(statement: Statement, module: str, name: str) -> Statement | None:
    """The one extension statement `module:name` below `statement`, or None."""
    return statement.search_one((module, name))


def extension_arg(statement: Statement, module: str, name: str) -> str | None:
    found = extension(statement, module, name)
    return None if found is None else found.arg


def extension_args(statement: Statement, module: str, name: str) -> list[str]:
    """The arguments of a repeatable extension, in the order of the model."""
    return [found.arg for found in statement.search((module, name))]


def data_nodes(statement: Statement) -> Iterator[Statement]:
    """All data nodes below `statement`, depth first, in the order of the model; choices and cases are seen through."""
    for child in getattr(statement, "i_children", ()):
        if child.keyword not in ("choice", "case"):
            yield child
        yield from data_nodes(child)


def ancestors(statement: Statement) -> Iterator[Statement]:
    """The node itself and what it is in, up to the module, as the tree is after groupings have been expanded."""
    node: Statement | None = statement
    while node is not None:
        yield node
        node = node.parent


def one_line(text: str) -> str:
    """A text of a model as one line: its line breaks mean nothing."""
    return re.sub(r"\s+", " ", text).strip()


def _shown(path: str) -> str:
    absolute = os.path.abspath(path)
    inside = os.path.commonpath([absolute, os.getcwd()]) == os.getcwd()
    return os.path.relpath(absolute) if inside else absolute
