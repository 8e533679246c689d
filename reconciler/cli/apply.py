"""pcn apply: bring the kernel in sync with files."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from typing import TYPE_CHECKING

from reconciler.cli import arguments as shared
from reconciler.cli.report import report
from reconciler.errors import ApplyFailed, UsageError

if TYPE_CHECKING:
    from reconciler.cli.run import Run
    from reconciler.document import Document
    from reconciler.engine.apply import ApplyResult, Options

DESCRIPTION = """\
Make the kernel hold what the files say: all of it or nothing, and without losing a packet where the plan says so.
Topologies that the files do not name stay as they are (see --prune); within a topology, what the file no longer
names is removed."""
_POLL = 0.2  # seconds between polls for an awaited netdev


def arguments(parser: ArgumentParser, *formats: str) -> None:
    parser.add_argument("files", nargs="*", metavar="FILE", help="a file, a directory, or - for standard input")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--plan", action="store_true", help="only show what would be done; exit 2 if there is anything")
    what.add_argument("--check", action="store_true", help="like --plan, for CI: 0 in sync, 2 changes pending, 3 only drift")
    what.add_argument("--confirm", action="store_true", help="keep what an apply with --try has made")
    parser.add_argument("--delete", action="store_true", help="remove the topologies that the files name")
    parser.add_argument("--prune", action="store_true", help="also remove topologies that the files do not name")
    parser.add_argument("--merge", action="store_true", help="make one topology of documents with the same name")
    parser.add_argument("--wait", metavar="SECONDS", type=shared.seconds, help="wait for netdevs that are not there yet")
    parser.add_argument(
        "--try",
        metavar="SECONDS",
        type=shared.seconds,
        dest="try_seconds",
        help="roll back after this time, unless confirmed with Enter or with pcn apply --confirm",
    )
    shared.output(parser, *(formats or ("text", "json", "yaml")))
    shared.lock(parser)
    shared.root(parser)
    shared.services(parser)


def run(run: Run) -> int:
    args = run.args
    shared.exclusive(
        args,
        [("--delete", "--wait"), ("--delete", "--prune"), ("--confirm", "--delete"), ("--plan", "--wait"), ("--check", "--wait")],
    )
    if args.try_seconds is not None and (args.wait is not None or args.plan or args.check or args.delete or args.confirm):
        raise UsageError("--try goes with none of --wait, --plan, --check, --delete and --confirm")
    if args.confirm:
        from reconciler.cli.commit_confirmed import confirm

        return confirm(run)
    if not args.files:
        raise UsageError(f"say which files, or - for standard input\nsee 'pcn {run.verb} --help'")
    reads = args.plan or args.check
    run.need("read the kernel's programs" if reads else "change the kernel's programs", change=not reads)
    documents = run.load(args.files) if args.delete else run.load_for_here(args.files)
    if not documents and not args.prune:
        run.terminal.complain("nothing here is for this host")
        return 0
    options = run.options()
    if args.plan or args.check:
        return plan(run, documents, options)
    if args.try_seconds is not None:
        from reconciler.cli.commit_confirmed import attempt

        return attempt(run, documents, options)
    return carry_out(run, documents, options)


def plan(run: Run, documents: list[Document], options: Options) -> int:
    """Print the plan; the exit code tells whether there are changes."""
    from reconciler.engine.apply import plan_for
    from reconciler.present import exit_code_of_plan

    result = plan_for(documents, options, delete=run.args.delete)
    run.warn_of_lockouts(result)
    return exit_code_of_plan(report(run, [result], done=False))


def carry_out(run: Run, documents: list[Document], options: Options) -> int:
    from reconciler.engine.apply import apply
    from reconciler.engine.confirm import refuse_while_unconfirmed

    refuse_while_unconfirmed(options.root)
    results = [apply(documents, options, delete=run.args.delete)]
    deadline = time.monotonic() + (run.args.wait or 0)
    while results[-1].plan.pending and time.monotonic() < deadline:
        if _arrived(results[-1]):
            results.append(apply(documents, options))
            continue
        run.terminal.progress(f"waiting for {', '.join(sorted({netdev for *_, netdev in results[-1].plan.pending}))}")
        time.sleep(_POLL)
    report(run, results, done=True)
    if any(result.plan.steps for result in results):
        from reconciler.cli.whose import say_unserved, say_whose
        from reconciler.live.applied import name_of

        say_whose(run, {name_of(document) for document in documents} | options.drop, options.root)
        say_unserved(run, results[-1], options.root)
    return _wait_is_over(run, results[-1]) if run.args.wait is not None else 0


def _arrived(result: ApplyResult) -> bool:
    """Whether any netdev that the last apply waited for is present."""
    from reconciler.kernel import rtnl

    present = rtnl.links()
    return any(netdev in present and present[netdev].carries_ethernet for *_, netdev in result.plan.pending)


def _wait_is_over(run: Run, result: ApplyResult) -> int:
    if not result.plan.pending:
        return 0
    missing = ", ".join(sorted({netdev for *_, netdev in result.plan.pending}))
    if run.format == "text":
        run.terminal.complain(f"still waiting for {missing} after {run.args.wait:g} s; all else is applied")
    return ApplyFailed.exit_code
