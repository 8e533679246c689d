"""pcn plan: pcn apply --plan."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import TYPE_CHECKING

from reconciler.cli import apply

if TYPE_CHECKING:
    from reconciler.cli.run import Run

DESCRIPTION = "Show what pcn apply would do, and exit 2 if there is anything to do. Reads only."


def arguments(parser: ArgumentParser) -> None:
    apply.arguments(parser)
    parser.set_defaults(plan=True)


def run(run: Run) -> int:
    if run.args.check:
        run.args.plan = False
    return apply.run(run)
