"""Arguments that verbs share, and a parser with pcn's exit codes: a usage error is 64, never 2."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import Any, NoReturn

from reconciler.cli.terminal import write_answer
from reconciler.errors import UsageError

# Options as other programs name them, and the equivalent here.
_ELSEWHERE = {
    "--dry-run": "--plan",
    "--diff": "--plan",
    "--timeout": "--try SECONDS",
    "--rollback": "--try SECONDS",
    "-f": "the file alone, without an option",
    "--file": "the file alone, without an option",
    "--filename": "the file alone, without an option",
    "--json": "-o json",
    "--yaml": "-o yaml",
    "--format": "-o FORM",
    "--watch": "'pcn agent run DIR'",
}
# For a verb without that option: the verb that has it.
_VERBS = {"--plan": "'pcn plan FILE'", "--try": "'pcn apply --try SECONDS FILE'"}


class Parser(argparse.ArgumentParser):
    """argparse would exit with 2, which means 'changes pending' here."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", Formatter)
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        unknown = [word.partition("=")[0] for word in message.partition("unrecognized arguments: ")[2].split()]
        hints = [f"\nfor {word}, say {hint}" for word in unknown if (hint := self._said_here(word))]
        raise UsageError(f"{message}{''.join(hints)}\nsee '{self.prog} --help'")

    def _said_here(self, word: str) -> str:
        """The equivalent of another program's option; '' if this verb has none."""
        hint = _ELSEWHERE.get(word, "")
        option = hint.partition(" ")[0]
        return _VERBS.get(option, "") if option.startswith("-") and option not in self._option_string_actions else hint

    def print_help(self, file: Any = None) -> None:
        """For --help, which ends the command."""
        if file is not None:
            super().print_help(file)
        elif code := write_answer(self.format_help().rstrip("\n")):
            self.exit(code)


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Help as wide as the terminal, with room for the longest option."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28)


def common(parser: argparse.ArgumentParser) -> None:
    """Arguments of every verb."""
    parser.add_argument(
        "--no-colour", "--no-color", action="store_true", dest="no_colour", help="no colour; so does NO_COLOR in the environment"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="say more: every step, and where errors come from")
    parser.add_argument("-q", "--quiet", action="store_true", help="say only what is wrong")


def services(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--services",
        action="append",
        default=[],
        metavar="DIR",
        type=directory,
        help="a directory with more services; can be repeated",
    )


def root(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--bpffs", metavar="DIR", default=None, help="where the live graph is kept (else $PCN_BPFFS, or /sys/fs/bpf/pcn)"
    )


def lock(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--lock-timeout", metavar="SECONDS", type=seconds, default=10.0, help="how long to wait for another pcn to finish (10)"
    )


def output(parser: argparse.ArgumentParser, *formats: str) -> None:
    parser.add_argument(
        "-o",
        "--output",
        choices=formats,
        default=formats[0],
        metavar="|".join(formats),
        help=f"the form of the output ({formats[0]})",
    )


def seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return value


def directory(text: str) -> str:
    if not os.path.isdir(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no directory")
    return text


def exclusive(args: argparse.Namespace, pairs: Sequence[tuple[str, str]]) -> None:
    """Raises UsageError if both options of a pair are set."""
    for one, other in pairs:
        if all(getattr(args, option.strip("-").replace("-", "_"), None) not in (None, False) for option in (one, other)):
            raise UsageError(f"{one} and {other} do not go together")
