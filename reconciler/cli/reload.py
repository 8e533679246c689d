"""pcn reload: replace one program of a live cube."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.cli import arguments as shared
from reconciler.cli.report import report
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.cli.run import Run

DESCRIPTION = """\
Compile FILE and put it in the place of program INDEX of a live cube, while packets pass. It may include what is beside the
service's own C. Tables stay. The topology's file does not say so: pcn drift names the program, and the next pcn apply puts the
service's own back."""
_MOST_BYTES = 1 << 20  # of C


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("cube", metavar="CUBE", help="a live cube")
    parser.add_argument("index", metavar="INDEX", type=_index, help="which of its programs, from 0, in the order of its model")
    parser.add_argument("file", metavar="FILE", help="the C of the new program")
    parser.add_argument("--egress", action="store_true", help="a program of the egress side, not of the ingress side")
    shared.output(parser, "text", "json", "yaml")
    shared.lock(parser)
    shared.root(parser)
    shared.services(parser)


def _index(text: str) -> int:
    if not text.isdecimal() or len(text) > 2:
        raise ValueError
    return int(text)


def run(run: Run) -> int:
    from reconciler.engine.confirm import refuse_while_unconfirmed
    from reconciler.engine.reload import reload

    run.need("change the kernel's programs", change=True)
    code = _read(run.args.file)
    options = run.options()
    refuse_while_unconfirmed(options.root)
    direction = "egress" if run.args.egress else "ingress"
    report(run, [reload(run.args.cube, code, run.args.index, direction, options, path=run.args.file)], done=True)
    return 0


def _read(path: str) -> str:
    """Raises UsageError for a text that cannot be a program."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise UsageError(f"{path} has more than {_MOST_BYTES >> 20} MiB")
        return content.decode()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no UTF-8 text (at byte {error.start})") from None
