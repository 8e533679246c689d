"""pcn import: converts other programs' files to topologies. Services declare the formats (reconciler/service/importers.py)."""

from __future__ import annotations

import os
from argparse import SUPPRESS, ArgumentParser
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from reconciler.cli import arguments as shared
from reconciler.errors import DocumentError, UsageError

if TYPE_CHECKING:
    from reconciler.cli.run import Run
    from reconciler.errors import Problem
    from reconciler.service.importers import Import

DESCRIPTION = """\
Make a topology of another program's files, and print it. What cannot be carried over is listed, each with its line. If
packets would fare otherwise than before, nothing is printed and the exit code is 65, unless --lossy is given: then the topology
accepts no more than the original where that can be helped, and has the list as comments. Without FORMAT, list the formats."""


def arguments_for(parser: ArgumentParser, words: Sequence[str]) -> None:
    shared.services(parser)
    parser.add_argument("--service", metavar="SERVICE", default="", help=_SERVICE)
    formats = parser.add_subparsers(dest="kind", metavar="FORMAT")
    for name, found in _imports(_directories(words), _service(words)).items():
        chosen = formats.add_parser(name, help=found.about, description=DESCRIPTION)
        chosen.add_argument("files", nargs="+", metavar="FILE", help="a file, or - for standard input")
        for option in found.options:
            how: dict[str, Any] = {"action": "append", "metavar": option.metavar} if option.metavar else {"action": "store_true"}
            chosen.add_argument(f"--{option.name}", dest=f"for_{option.name}", help=option.about, **how)
        chosen.add_argument("--lossy", action="store_true", help="print the topology even if it does not do the same")
        chosen.add_argument("-o", "--output", metavar="FILE", dest="to", help="write the topology to a file; else it is printed")
        chosen.add_argument("--services", action="append", default=SUPPRESS, metavar="DIR", type=shared.directory, help=SUPPRESS)
        chosen.add_argument("--service", default=SUPPRESS, metavar="SERVICE", help=_SERVICE)
        shared.common(chosen)


_SERVICE = "make it of cubes of this service, where several read a format"


def _service(words: Sequence[str]) -> str:
    """The value of --service, likewise."""
    found = [value for option, value in pairwise(words) if option == "--service"]
    return [*found, *(word.partition("=")[2] for word in words if word.startswith("--service=")), ""][0]


def _directories(words: Sequence[str]) -> list[str]:
    """The values of --services, read before there is a parser: the formats depend on them."""
    found = [value for option, value in pairwise(words) if option == "--services"]
    found += [word.partition("=")[2] for word in words if word.startswith("--services=")]
    return [directory for directory in found if os.path.isdir(directory)]


def _imports(directories: Sequence[str], service: str = "") -> dict[str, Import]:
    from reconciler.service.importers import imports
    from reconciler.service.registry import Services

    return imports(Services(directories), service)


def run(run: Run) -> int:
    formats = _imports(getattr(run.args, "services", ()), run.args.service)
    if run.args.kind is None:
        run.terminal.print("\n".join(f"{name}  {found.about}" for name, found in formats.items()) or "there are none")
        return 0
    chosen = formats[run.args.kind]
    given = {option.name: getattr(run.args, f"for_{option.name}") for option in chosen.options}
    made = chosen.read(_texts(run), {name: () if value is True else value for name, value in given.items() if value})
    errors = [problem for problem in made.lost if problem.severity == "error"]
    _say(run, made.lost if errors and not run.args.lossy else [_mild(problem) for problem in made.lost])
    if errors and not run.args.lossy:
        count = f"{len(errors)} thing{'s' if len(errors) > 1 else ''}"
        run.terminal.complain(f"{count} cannot be carried over, and nothing was written; --lossy writes what can be")
        return DocumentError.exit_code
    text = "".join(_comments(run, made.lost)) + _checked(run, made.document)
    if run.args.to:
        _write(run.args.to, text)
    else:
        run.terminal.print(text)
    return 0


def _texts(run: Run) -> dict[str, str]:
    import sys

    from reconciler.document.load import read_texts

    texts = read_texts(run.args.files, stdin=sys.stdin.buffer)
    run.sources.update(texts)
    return texts


def _say(run: Run, problems: Sequence[Problem]) -> None:
    """Prints all problems, not only the first few: this is the result."""
    from reconciler.document.diagnostics import render

    for problem in problems:
        if problem.severity == "error" or not run.terminal.quiet:
            run.terminal.complain(render(problem, run.sources, run.terminal.colour_err))


def _mild(problem: Problem) -> Problem:
    from dataclasses import replace

    return replace(problem, severity="warning")


def _comments(run: Run, lost: Sequence[Problem]) -> Iterator[str]:
    from reconciler.document.diagnostics import escape

    yield f"# Made by 'pcn import {run.args.kind}' of {escape(', '.join(run.sources))}.\n"
    if lost:
        yield "# Not carried over:\n"
    for problem in lost:
        yield f"#   {escape(str(problem))}\n"


def _checked(run: Run, document: Any) -> str:
    """The topology as text. Raises DocumentError if `pcn validate` would refuse it."""
    from reconciler.check import check
    from reconciler.document.emitter import dump_yaml
    from reconciler.document.load import parse

    text = dump_yaml(document)
    run.sources["<topology>"] = text
    check(parse(text, "<topology>"), run.services())
    return text


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None
