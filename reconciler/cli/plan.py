"""pcn plan: pcn apply --plan; and with --from, between two sets of files and without a kernel."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import TYPE_CHECKING

from reconciler.cli import apply
from reconciler.cli import arguments as shared
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.cli.run import Run

DESCRIPTION = """\
Show what pcn apply would do, and exit 2 if there is anything to do. Reads only. With --from, what it would do where the files
given there are applied: that needs neither root nor the host, so it can be shown beside a proposed change."""


def arguments(parser: ArgumentParser) -> None:
    apply.arguments(parser, "text", "json", "yaml", "markdown")
    parser.add_argument(
        "--from", action="append", dest="before", metavar="FILE", help="plan as if this were applied (repeatable)"
    )
    parser.set_defaults(plan=True)


def run(run: Run) -> int:
    if run.args.check:
        run.args.plan = False
    if run.args.before is None:
        return apply.run(run)
    return _between(run)


def _between(run: Run) -> int:
    from reconciler.cli.report import report
    from reconciler.engine.offline import plan_between
    from reconciler.present import exit_code_of_plan

    shared.exclusive(run.args, [("--from", "--delete"), ("--from", "--prune"), ("--from", "--confirm")])
    if not run.args.files:
        raise UsageError("say which files come after those of --from")
    before = [path for path in run.args.before if path != "/dev/null"]
    old = run.load(before) if before else []
    result = plan_between(old, run.load(run.args.files), run.options())
    run.warn_of_lockouts(result)
    return exit_code_of_plan(report(run, [result], done=False))
