"""Entry point of the command: handles `pcn --help` and unknown verbs at once; `dispatch` runs the others.

Imports are deferred until needed: argparse, dataclasses and their dependencies take three times as long as Python's own start.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from reconciler.cli.verbs import VERBS

USAGE = 64  # UsageError.exit_code, without importing it

_HELP = """\
usage: pcn VERB [ARGUMENT…]

pcn makes the eBPF network functions in the kernel what a topology file says.

verbs:
{verbs}

options:
  -h, --help     print this help and stop
  --version      print the version and stop
  --host URL     before a verb: do it on another host, over its pcn-api ('pcn --host URL --help')

'pcn VERB --help', or 'pcn help VERB', says more of one.

exit codes: 0 in sync or applied, 1 failed and rolled back, 2 changes pending, 3 drift, 4 applied but not verified and
rolled back, 5 rollback incomplete, 64 usage, 65 invalid document, 69 kernel feature missing, 74 done, but
the answer could not be written, 75 lock busy,
76 made by a newer pcn, 77 no permission"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; returns its exit code."""
    try:
        return _main(arguments)
    except KeyboardInterrupt:
        return _stopped()


def _main(arguments: Sequence[str] | None) -> int:
    _use_streams()
    words = list(sys.argv[1:] if arguments is None else arguments)
    first = words[0] if words else ""
    if first in VERBS:
        from reconciler.cli.dispatch import dispatch

        return dispatch(first, words[1:], f"pcn {first}")
    if first == "help" and len(words) > 1 and words[1] in VERBS:
        return main([words[1], "--help"])
    if first in ("-h", "--help", "help"):
        return _answer(help_text())
    if first in ("--version", "version"):
        from reconciler.cli.version import version

        return _answer(f"pcn {version()}")
    if first == "--host" or first.startswith("--host="):
        from reconciler.cli.remote import main as remote

        return remote(words)
    beside = _beside(first)
    if beside:
        os.execv(beside, [beside, *words[1:]])  # noqa: S606 - a command of this installation
    from reconciler.cli.terminal import write_error

    write_error(f"pcn: {_complaint(first)}\nsee 'pcn --help'")
    return USAGE


def _beside(first: str) -> str:
    """The command `pcn-FIRST` of another part of pcn, '' if there is none: `pcn k8s status` is `pcn-k8s status`."""
    path = os.path.join(os.path.dirname(os.path.realpath(sys.argv[0])), f"pcn-{first}")
    is_name = first.isascii() and first.isalnum()
    return path if is_name and os.path.basename(sys.argv[0]) == "pcn" and os.access(path, os.X_OK) else ""


def apply_main() -> int:
    """`pcn-apply` is `pcn apply`."""
    try:
        _use_streams()
        from reconciler.cli.dispatch import dispatch

        return dispatch("apply", sys.argv[1:], "pcn-apply")
    except KeyboardInterrupt:
        return _stopped()


def _stopped() -> int:
    """Ctrl-C before the verb runs, while it is resolved or imported; later the verb reports the outcome itself."""
    from reconciler.cli.terminal import write_error

    write_error("error: stopped by Ctrl-C; nothing was changed")
    return 1  # Interrupted.exit_code, without importing it


def _use_streams() -> None:
    if None in (sys.stdin, sys.stdout, sys.stderr):  # Python's marker for a closed stream
        from reconciler.cli.terminal import open_missing_streams

        open_missing_streams()


def help_text() -> str:
    wide = max(map(len, VERBS))
    return _HELP.format(verbs="\n".join(f"  {verb:<{wide}}  {about}" for verb, about in VERBS.items()))


def _answer(text: str) -> int:
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except OSError as error:
        from reconciler.cli.terminal import answer_lost

        return answer_lost(error)
    return 0


# By another program's verb: the equivalent here.
_ELSEWHERE = {
    "diff": "'pcn plan FILE' shows what an apply would change, 'pcn drift' what was changed by hand",
    "preview": "'pcn plan FILE' shows what an apply would change",
    "list": "'pcn show' prints what is applied, 'pcn stats' its cubes, 'pcn services' the kinds of cube",
    "ls": "'pcn show' prints what is applied, 'pcn stats' its cubes, 'pcn services' the kinds of cube",
    "get": "'pcn show' prints what is applied, as YAML or JSON",
    "describe": "'pcn show --state NAME' prints a topology or a cube with what it learned",
    "create": "'pcn apply FILE' makes what a file says",
    "up": "'pcn apply FILE' makes what a file says",
    "deploy": "'pcn apply FILE' makes what a file says",
    "destroy": "'pcn delete TOPOLOGY' removes one",
    "down": "'pcn delete TOPOLOGY' removes one",
    "rm": "'pcn delete TOPOLOGY' removes one",
    "remove": "'pcn delete TOPOLOGY' removes one",
    "check": "'pcn validate FILE' checks a file, 'pcn apply --check FILE' compares it with the kernel",
    "lint": "'pcn validate FILE' checks a file",
    "watch": "'pcn agent run DIR' watches files, 'pcn stats -w' shows rates",
    "run": "'pcn agent run DIR' watches files",
    "status": "'pcn agent status' says how the agent does, 'pcn drift' whether the kernel was changed by hand",
    "logs": "'pcn log -f' prints what cubes log",
    "rollback": "'pcn apply --try SECONDS FILE' rolls back by itself unless it is confirmed",
    "try": "'pcn apply --try SECONDS FILE' rolls back by itself unless it is confirmed",
    "confirm": "'pcn apply --confirm' keeps what an apply with --try has made",
    "edit": "change the file and 'pcn apply FILE'",
    "man": "'pcn help' lists the verbs",
}


def _complaint(word: str) -> str:
    if not word:
        return "say what to do"
    if word in _ELSEWHERE:
        return f"there is no verb {word!r}; {_ELSEWHERE[word]}"
    if word.startswith("-"):
        return f"no option {word!r} can stand before a verb"
    from reconciler.document.suggest import did_you_mean

    hint = did_you_mean(word, VERBS)
    return f"there is no verb {word!r}" + (f"; {hint}" if hint else "")
