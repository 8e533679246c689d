"""pcn capture: write packets that a cube captures, or that pass a point of the graph, as pcapng."""

from __future__ import annotations

import argparse
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from reconciler.cli import arguments as shared
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.capture.follow import Capture, Written
    from reconciler.capture.output import Output
    from reconciler.cli.run import Run

DESCRIPTION = """\
Write packets as pcapng, with times in nanoseconds, until Ctrl-C: to a file, which becomes another one when it is large or
old, or with -w - to a pipe. WHERE is

  br1:p1        a port: a tap is placed next to the cube, for as long as this runs; no file has it
  br1:p1/fw1    the same, on the wire's side of the transparent cube fw1 there
  eth0          a netdev that has attachments: next to the host's stack, or eth0/fw1
  watch         a cube of service packetcapture, which has its own filter: its packets are read

  pcn capture br1:p1 'tcp port 80' -w - | tcpdump -n -r -

What found no room is counted, and told in the end."""
_MEGABYTE = 1_000_000
_DIRECTIONS = {"both": "BIDIRECTIONAL", "in": "INGRESS", "out": "EGRESS"}


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("where", metavar="WHERE", help="a port, a netdev, or a cube that captures")
    parser.add_argument("filter", nargs="*", metavar="FILTER", help="which packets, in tcpdump's syntax (all)")
    parser.add_argument("-w", "--write", metavar="FILE|-", help="where to (else what a cube's file says)")
    parser.add_argument("-s", "--snaplen", metavar="N", type=_number, default=0, help="how many bytes of each packet (all)")
    parser.add_argument("-d", "--direction", choices=tuple(_DIRECTIONS), default="both", help="from or to the wire")
    parser.add_argument("-c", "--count", metavar="N", type=_number, default=0, help="end after so many packets")
    parser.add_argument("--rotate-size", metavar="MB", type=_number, default=0, help="begin another file before it is larger")
    parser.add_argument("--rotate-seconds", metavar="S", type=shared.seconds, default=0.0, help="begin another file after this")
    parser.add_argument("--keep", metavar="N", type=_number, default=9, help="how many files before the one that is written (9)")
    shared.lock(parser)
    shared.services(parser)
    shared.root(parser)


def run(run: Run) -> int:
    from reconciler.capture.follow import follow
    from reconciler.cli.version import version

    run.need("capture packets", change=True)
    root = run.options().root
    with _ending() as ending, _capture(run) as (capture, where):
        output = _output(run, where, capture.head(version()))
        to = "" if where == "-" else f" to {where}"
        run.terminal.say(f"capturing at {', '.join(capture.places.values())}{to}; Ctrl-C ends it")

        try:
            written = follow(root, capture, output, lambda: bool(ending), run.args.count)
            output.close()
        except BrokenPipeError:  # the reader of the pipe has exited
            return 0
    run.terminal.say(_summary(written))
    return 0


@contextmanager
def _ending() -> Iterator[list[int]]:
    """Handles termination signals within; the list has those received."""
    import signal

    ending: list[int] = []
    signals = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
    before = {number: signal.signal(number, lambda number, _frame: ending.append(number)) for number in signals}
    try:
        yield ending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _capture(run: Run) -> Iterator[tuple[Capture, str]]:
    """What to capture and where to write it; a tap exists within this context."""
    from reconciler import pins
    from reconciler.capture.describe import describe
    from reconciler.capture.tap import Place, tapped
    from reconciler.kernel.bpffs import Bpffs

    args, options = run.args, run.options()
    options.progress = None
    if args.where in {pins.unescape(name) for name in Bpffs(options.root).names("cubes")}:
        if args.filter or args.snaplen or args.direction != "both":
            raise UsageError(f"{args.where} is a cube: its filter, snaplen and direction are those of its file")
        capture, cube = describe(options.root, options.services, args.where)
        dump = cube.config.get("dump") or f"/var/tmp/{cube.name}.pcapng"  # noqa: S108  # created exclusively
        yield capture, _where(run, "-" if cube.config.get("networkmode") else str(dump))
        return
    where = _where(run, "-")
    leaves = {"capture": _DIRECTIONS[args.direction], "filter": " ".join(args.filter), "snaplen": args.snaplen}
    with tapped(options, Place.of(args.where), {leaf: value for leaf, value in leaves.items() if value}) as capture:
        yield capture, where


def _where(run: Run, otherwise: str) -> str:
    import os
    import sys

    said = run.args.write or otherwise
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
