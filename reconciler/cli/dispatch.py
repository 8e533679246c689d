"""Runs a verb, and maps its outcome to messages and an exit code: the only place where a command ends.

The exit codes are those of docs/commands.md, and no others.
"""

from __future__ import annotations

import gc
import importlib
import keyword
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from reconciler.cli.arguments import Parser, common
from reconciler.cli.run import Run
from reconciler.cli.terminal import Terminal
from reconciler.errors import PcnError, UsageError

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from reconciler.cli.given import Given


def dispatch(
    verb: str, words: Sequence[str], prog: str, *, given: Given | None = None, colour: Sequence[bool] | None = None
) -> int:
    """Run a verb with its arguments; `prog` is the command's name. Returns the exit code. For another host: `given` are its
    files, and `colour` whether its stdout and its stderr have colour."""
    try:
        args = verb_parser(verb, prog, words).parse_args(words)
    except UsageError as error:
        Terminal().complain(f"{prog}: {error}")
        return error.exit_code
    except SystemExit as ended:  # --help
        return int(ended.code or 0)
    terminal = Terminal(colour=False if args.no_colour else None, verbose=args.verbose, quiet=args.quiet)
    if colour is not None and not args.no_colour:
        terminal.colour, terminal.colour_err = map(bool, colour)
    return terminal.ended(_carry_out(Run(args, verb, terminal, given=given)))


def verb_parser(verb: str, prog: str, words: Sequence[str] = ()) -> ArgumentParser:
    """The parser of one verb; imports its module. `words` matter if services add arguments."""
    module = importlib.import_module(_module(verb))
    parser = Parser(prog=prog, description=module.DESCRIPTION)
    if hasattr(module, "arguments_for"):
        module.arguments_for(parser, words)
    else:
        module.arguments(parser)
    common(parser)
    return parser


def _module(verb: str) -> str:
    return f"reconciler.cli.{verb.replace('-', '_')}" + ("_" if keyword.iskeyword(verb) else "")  # no module can be called import


def _carry_out(run: Run) -> int:
    """Run the verb; reports any error, once, in the requested format."""
    verb = sys.modules[_module(run.verb)]
    try:
        with _no_search_for_garbage() if run.verb not in ("agent", "api") else nullcontext():
            code: int = verb.run(run)
    except PcnError as error:
        return run.failed(error)
    except KeyboardInterrupt:
        return run.interrupted()
    except Exception as error:  # noqa: BLE001 - last resort: a bug must not look like an answer
        if isinstance(error.__cause__, KeyboardInterrupt):  # Python wraps it so while a class is created
            return run.interrupted()
        return run.unexpected(error)
    return code


@contextmanager
def _no_search_for_garbage() -> Iterator[None]:
    """Disables garbage collection: a command's objects live until it exits. Collections during the run and at exit take a quarter
    of its time if there are many cubes."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
