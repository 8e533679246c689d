"""pcn completion: a shell completion script, generated from the argument parsers."""

from __future__ import annotations

from argparse import Action, ArgumentParser
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from reconciler.cli.completion_scripts import Option, Verb, bash, fish, zsh
from reconciler.cli.verbs import VERBS

if TYPE_CHECKING:
    from reconciler.cli.run import Run

DESCRIPTION = """\
Print a completion script.

  bash   pcn completion bash > /etc/bash_completion.d/pcn
  zsh    pcn completion zsh > "${fpath[1]}/_pcn"
  fish   pcn completion fish > ~/.config/fish/completions/pcn.fish"""
SHELLS = ("bash", "zsh", "fish")
_DIRECTORIES = ("--bpffs", "--services")


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, metavar="bash|zsh|fish", help="the shell")


def run(run: Run) -> int:
    verbs = list(verbs_of_parsers())
    run.terminal.print({"bash": bash, "zsh": zsh, "fish": fish}[run.args.shell](verbs))
    return 0


def verbs_of_parsers() -> Iterator[Verb]:
    from reconciler.cli.dispatch import verb_parser

    for name, about in VERBS.items():
        actions = list(_actions(verb_parser(name, f"pcn {name}")))
        positional = [action for action in actions if not action.option_strings]
        words = tuple(str(word) for action in positional for word in action.choices or ())
        files = any("FILE" in str(action.metavar) for action in positional)
        options = {action.option_strings[0]: _option(action) for action in actions if action.option_strings}
        yield Verb(name, about, tuple(options.values()), files, words)


def _actions(parser: ArgumentParser) -> Iterator[Action]:
    """A parser's arguments, and those of its subparsers."""
    for action in parser._actions:
        yield action
        if isinstance(action.choices, Mapping):
            for inner in action.choices.values():
                yield from _actions(inner)


def _option(action: Action) -> Option:
    words = tuple(map(str, action.choices or ()))
    takes = "words" if words else "directory" if action.option_strings[0] in _DIRECTORIES else "value"
    about = str(action.help or "").partition(";")[0]
    return Option(tuple(action.option_strings), about, "" if action.nargs == 0 else takes, words)
