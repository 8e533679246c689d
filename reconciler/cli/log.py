"""pcn log: follow the log of the cubes' programs."""
from __future__ import annotations

from argparse import ArgumentParser
from typing import TYPE_CHECKING

from reconciler.cli import arguments as shared

if TYPE_CHECKING:
    from reconciler.cli.run import Run

DESCRIPTION = """\
Print what the cubes have logged, programs and slow paths, oldest first; with -f, go on as it happens, until Ctrl-C. What a cube
logs is set by its loglevel. Each line is read once: while this runs, it is the log's only reader."""

_STYLES = {"WARN": "yellow", "ERR": "red", "CRITICAL": "red", "DEBUG": "dim", "TRACE": "dim"}
_CLOCK = slice(11, 26)  # of an ISO time: hours to microseconds


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("cube", nargs="?", metavar="CUBE", help="only this cube (lines of others are passed over)")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until Ctrl-C")
    shared.output(parser, "text", "json")
    shared.root(parser)
    shared.services(parser)


def run(run: Run) -> int:
    import json

    from reconciler.agent.logs import follow

    run.need("read the log")
    options, cube = run.options(), run.args.cube
    if run.args.follow:
        run.terminal.say(_announced(options.root, cube))
    elif cube is not None:
        _known(options.root, cube)
    try:
        for line in follow(options.root, options.services, forever=run.args.follow, wanted=lambda: run.terminal.wait(0)):
            if cube in (None, line["cube"]):
                run.terminal.print(json.dumps(line, ensure_ascii=False) if run.format == "json" else _text(run, line))
            if run.terminal.lost:
                break
    except KeyboardInterrupt:
        run.terminal.clear()
    return 0


def _text(run: Run, line: dict[str, str]) -> str:
    from reconciler.document.diagnostics import escape

    paint = run.terminal.paint
    words = paint(_STYLES.get(line["level"], ""), f"{line['level']:<8} {escape(line['text'])}")
    return f"{paint('dim', line['time'][_CLOCK])} {paint('bold', line['cube'])} {words}"


def _announced(root: str, cube: str | None) -> str:
    """A message about the log that is followed, since there may be no line for long."""
    if cube is None:
        return "following the log of all cubes; Ctrl-C ends it"
    return f"following the log of {cube}{'' if cube in _there(root) else ', which is not there yet'}; Ctrl-C ends it"


def _there(root: str) -> list[str]:
    from reconciler import pins
    from reconciler.kernel.bpffs import Bpffs

    return [pins.unescape(name) for name in Bpffs(root).names("cubes")]


def _known(root: str, cube: str) -> None:
    from reconciler.document.suggest import did_you_mean
    from reconciler.errors import UsageError

    there = _there(root)
    if cube not in there:
        hint = did_you_mean(cube, there)
        raise UsageError(f"there is no cube {cube!r}" + (f"; {hint}" if hint else ""))
