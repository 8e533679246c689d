"""pcn capture: the packets that a cube captures, as pcapng."""

from __future__ import annotations

import argparse
from argparse import ArgumentParser
from typing import TYPE_CHECKING

from reconciler.cli import arguments as shared
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.capture.follow import Written
    from reconciler.capture.output import Output
    from reconciler.cli.run import Run
    from reconciler.model import Cube

DESCRIPTION = """\
Write the packets that a cube of service packetcapture captures, as pcapng with times in nanoseconds, until Ctrl-C: to a file,
which becomes another one when it is large or old, or with -w - to a pipe.

  pcn capture watch -w - | tcpdump -n -r -

Each packet is read once: while this runs, it is the cube's only reader. What found no room is counted, and told in the end."""
_MEGABYTE = 1_000_000


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("cube", metavar="CUBE", help="the cube whose packets are read")
    parser.add_argument("-w", "--write", metavar="FILE|-", help="where to (else what the cube's 'networkmode' and 'dump' say)")
    parser.add_argument("-c", "--count", metavar="N", type=_number, default=0, help="end after so many packets")
    parser.add_argument("--rotate-size", metavar="MB", type=_number, default=0, help="begin another file before it is larger")
    parser.add_argument("--rotate-seconds", metavar="S", type=shared.seconds, default=0.0, help="begin another file after this")
    parser.add_argument("--keep", metavar="N", type=_number, default=9, help="how many files before the one that is written (9)")
    shared.services(parser)
    shared.root(parser)


def run(run: Run) -> int:
    from reconciler.capture.describe import describe
    from reconciler.capture.follow import follow
    from reconciler.cli.version import version

    run.need("read captured packets")
    options = run.options()
    capture, cube = describe(options.root, options.services, run.args.cube)
    where = _where(run, cube)
    output = _output(run, where, capture.head(version()))
    if where != "-":
        run.terminal.say(f"writing what {capture.cube} captures to {where}; Ctrl-C ends it")
    written = _until_the_end(lambda wanted: follow(options.root, capture, output, wanted), run, output)
    if written is not None:
        run.terminal.say(_summary(written))
    return 0


def _until_the_end(read: Callable[[Callable[[Written], bool]], Written], run: Run, output: Output) -> Written | None:
    """What was written until Ctrl-C, SIGTERM, the count, or the end of whoever reads the pipe (None)."""
    import signal

    ending: list[int] = []
    signals = signal.SIGINT, signal.SIGTERM
    before = {number: signal.signal(number, lambda number, _frame: ending.append(number)) for number in signals}
    try:
        written = read(lambda written: not ending and not (run.args.count and written.captured >= run.args.count))
        output.close()
        return written
    except BrokenPipeError:
        return None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _where(run: Run, cube: Cube) -> str:
    import os
    import sys

    dump = cube.config.get("dump") or f"/var/tmp/{cube.name}.pcapng"  # noqa: S108  # made such that nobody is in the way
    said = run.args.write or ("-" if cube.config.get("networkmode") else dump)
    if said == "-" and os.isatty(sys.stdout.fileno()):
        raise UsageError("pcapng is not for a terminal: pipe it (| tcpdump -r -), or say -w FILE")
    return str(said)


def _output(run: Run, where: str, head: bytes) -> Output:
    from reconciler.capture.output import File, Pipe, Rotation

    args = run.args
    if where == "-":
        return Pipe(run.terminal.out.fileno(), head)
    return File(where, head, Rotation(args.rotate_size * _MEGABYTE, args.rotate_seconds, args.keep))


def _summary(written: Written) -> str:
    from reconciler.present.leaves import counted

    return f"{counted(written.captured, 'packet')} captured, {written.lost} lost for want of room"


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 10**9:
        raise argparse.ArgumentTypeError(f"{text!r} is no number")
    return int(text)
