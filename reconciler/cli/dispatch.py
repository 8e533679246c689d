"""Runs a verb, and turns whatever the outcome into words and an exit code: the only place where a command ends.

The exit codes are those of docs/commands.md, and there are no others.
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
    """Run a verb with its arguments; `prog` is what the command calls itself. Returns the exit code. For another host: `given`
    are its files, and `colour` is whether its output and its errors have some."""
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
    """The parser of one verb; imports its module. What a verb takes may depend on the words: some services bring more."""
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
    """Run the verb. Whatever happens is said in one place, and in the form that was requested."""
    verb = sys.modules[_module(run.verb)]
    try:
        with _no_search_for_garbage() if run.verb not in ("agent", "api") else nullcontext():
            code: int = verb.run(run)
    except PcnError as error:
        return run.failed(error)
    except KeyboardInterrupt:
        return run.interrupted()
    except Exception as error:  # noqa: BLE001 - the last resort: a bug must not look like an answer
        if isinstance(error.__cause__, KeyboardInterrupt):  # Python's own word for it while a class is made
            return run.interrupted()
        return run.unexpected(error)
    return code


@contextmanager
def _no_search_for_garbage() -> Iterator[None]:
    """What a command makes is no garbage before it ends, and the kernel takes it all then. Looking for some as it works and as it
    ends takes a quarter of its time, if it is one of many cubes."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
