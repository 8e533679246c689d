"""The command's front door: finds the verb, runs it, and turns whatever comes of it into words and an exit code.

    0 in sync or applied     1 failed, and rolled back     2 changes pending     3 drift     4 applied but not verified
    5 rollback incomplete    64 usage    65 invalid document    69 kernel feature missing    75 lock busy    77 no permission

There are no others. Nothing heavy is imported before the verb is known.
"""
from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from reconciler.cli.arguments import Parser, Version, common
from reconciler.cli.run import Run
from reconciler.cli.terminal import Terminal
from reconciler.cli.verbs import VERBS
from reconciler.errors import PcnError, UsageError

if TYPE_CHECKING:
    from argparse import ArgumentParser

_DESCRIPTION = "pcn makes the eBPF network functions in the kernel what a topology file says."


def main(arguments: Sequence[str] | None = None, prog: str = "pcn") -> int:
    """Run one command line; gives its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    terminal = Terminal()
    try:
        run = _parse(words, prog)
    except UsageError as error:
        terminal.complain(f"{prog}: {error}")
        return error.exit_code
    except SystemExit as ended:  # --help and --version
        return int(ended.code or 0)
    return _carry_out(run)


def apply_main() -> int:
    """`pcn-apply` is `pcn apply`."""
    return main(["apply", *sys.argv[1:]], prog="pcn-apply")


def _parse(words: list[str], prog: str) -> Run:
    verb = next((word for word in words if not word.startswith("-")), "")
    if prog == "pcn-apply":
        parser = verb_parser("apply", prog)
        args = parser.parse_args(words[1:])
        verb = "apply"
    elif verb in VERBS and words[0] == verb:
        args = verb_parser(verb, f"{prog} {verb}").parse_args(words[1:])
    else:
        args = top_parser(prog).parse_args(words)
        raise UsageError(f"say what to do: one of {', '.join(VERBS)}\nsee '{prog} --help'")
    return Run(args, verb, Terminal(colour=False if args.no_colour else None, verbose=args.verbose, quiet=args.quiet))


def verb_parser(verb: str, prog: str) -> ArgumentParser:
    """The parser of one verb; imports its module."""
    module = importlib.import_module(f"reconciler.cli.{verb}")
    parser = Parser(prog=prog, description=module.DESCRIPTION)
    module.arguments(parser)
    common(parser)
    return parser


def top_parser(prog: str) -> ArgumentParser:
    """What stands before a verb: only --help and --version."""
    wide = max(map(len, VERBS))
    verbs = "\n".join(f"  {verb:<{wide}}  {about}" for verb, about in VERBS.items())
    parser = Parser(prog=prog, usage=f"{prog} VERB [ARGUMENT…]", description=f"{_DESCRIPTION}\n\nverbs:\n{verbs}",
                    epilog=f"'{prog} VERB --help' says more of one. The exit codes are in docs/commands.md.")
    parser.add_argument("--version", action=Version, nargs=0, help="print the version and stop")
    parser.add_argument("verb", nargs="?", metavar="VERB", type=_known_verb, help="what to do")
    return parser


def _carry_out(run: Run) -> int:
    """Run the verb. Whatever happens is said in one place, and in the form that was asked for."""
    module = importlib.import_module(f"reconciler.cli.{run.verb}")
    try:
        code: int = module.run(run)
    except PcnError as error:
        return run.failed(error)
    except KeyboardInterrupt:
        return run.failed_with("stopped by Ctrl-C before anything was changed")
    except Exception as error:  # noqa: BLE001 - the last resort: a bug must not look like an answer
        return run.unexpected(error)
    return code


def _known_verb(word: str) -> str:
    from reconciler.nearmiss import did_you_mean

    hint = did_you_mean(word, VERBS)
    raise UsageError(f"there is no verb {word!r}" + (f"; {hint}" if hint else "") + "\nsee 'pcn --help'")
